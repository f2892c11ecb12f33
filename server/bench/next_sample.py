"""How long the next sample takes in a large pool."""

from collections.abc import Iterator

import numpy as np
import requests
from sqlalchemy import insert
from sqlalchemy.orm import Session

from app.settings import Settings
from app.store.database import Database
from app.store.tables import ImageRow, ModelVersionRow, PredictionRow
from server.bench.figures import Figure, Section, latency, time_calls
from server.bench.scale import Scale
from server.bench.site import running_site
from server.demo.server_process import private_settings

_CHUNK = 5_000


def measure(scale: Scale) -> Section:
    """Ask for samples of a pool of predicted images, over HTTP."""
    folder = scale.folder / "large-pool"
    folder.mkdir(parents=True)
    settings = private_settings(folder)
    scale.narrator.progress(f"filling a pool of {scale.pool} images")
    fill(settings, scale.pool)
    figures: list[Figure] = []
    with (
        running_site(folder, settings, scale.narrator, workers=0) as site,
        requests.Session() as http,
    ):
        http.trust_env = False
        for strategy in ("uncertainty", "random"):
            address = f"{site.url}/activelearning/{strategy}"

            def ask(address: str = address) -> None:
                http.post(address, json={"client_id": "bench"}, timeout=60).raise_for_status()

            [first] = time_calls(ask, 1)
            figures.append(Figure(f"{strategy}, first call", first * 1000, "ms"))
            figures += latency(strategy, time_calls(ask, scale.calls))
    setting = f"POST /activelearning/… with {scale.pool} unlabeled, predicted images in the pool."
    return Section("next-sample", "Next sample in a large pool", setting, tuple(figures))


def fill(settings: Settings, count: int) -> None:
    """Put ``count`` predicted images into a fresh database, as rows without files."""
    settings.data.mkdir(parents=True, exist_ok=True)
    database = Database(settings.database)
    database.migrate()
    with database.writing() as session:
        _add_model_version(session)
        for images, predictions in _rows(count):
            session.execute(insert(ImageRow), images)
            session.execute(insert(PredictionRow), predictions)
    database.close()


def _add_model_version(session: Session) -> None:
    version = ModelVersionRow(
        id=1, job_id="bench", parent_id=None, sha256="0" * 64, card={}, label_count=0
    )
    version.is_active, version.created_at = True, 0.0
    session.add(version)
    session.flush()


def _rows(count: int) -> Iterator[tuple[list[dict[str, object]], list[dict[str, object]]]]:
    rng = np.random.default_rng(0)
    for start in range(0, count, _CHUNK):
        places = range(start, min(start + _CHUNK, count))
        measures = rng.lognormal(size=(len(places), 3)).tolist()
        images = [_image(place) for place in places]
        yield images, [_prediction(*pair) for pair in zip(places, measures, strict=True)]


def _image(place: int) -> dict[str, object]:
    return {
        "id": f"image-{place:06d}",
        "source": "studies",
        "kind": "nifti",
        "path": f"image-{place:06d}.nii.gz",
        "name": f"image-{place:06d}.nii.gz",
        "signature": "0" * 64,
        "content_sha256": f"{place:064d}",
        "file_sha256": f"{place:064d}",
        "shape": {"z": 40, "y": 512, "x": 512},
        "affine": np.eye(4).tolist(),
        "kvp": 120.0,
        "patient_key": f"{place:064x}",
        "info": {},
        "registered_at": float(place),
    }


def _prediction(place: int, measures: list[float]) -> dict[str, object]:
    clinical, lesion, agatston = measures
    return {
        "image_id": f"image-{place:06d}",
        "model_version_id": 1,
        "key": "bench",
        "sha256": "0" * 64,
        "scores": {},
        "agatston_samples": [[agatston] * 4] * 20,
        "agatston": 100 * agatston,
        "clinical_uncertainty": clinical,
        "lesion_uncertainty": lesion,
        "region_uncertainty": 0.0,
        "has_candidates": True,
        "embedding": bytes(256),
        "seconds": 1.0,
        "created_at": float(place),
    }
