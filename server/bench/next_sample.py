"""How long the next sample takes in a large pool."""

from collections.abc import Iterator
from typing import Final

import numpy as np
import requests
from sqlalchemy import insert
from sqlalchemy.orm import Session

from app.prediction_keys import prediction_key
from app.settings import Settings
from app.store.database import Database
from app.store.tables import ImageRow, ModelVersionRow, PredictionRow
from server.bench.figures import Figure, Section, latency, time_calls
from server.bench.processor_time import processor_seconds
from server.bench.scale import Scale
from server.bench.site import running_site
from server.demo.server_process import private_settings
from strategies.registry import strategy_names

_CHUNK: Final = 5_000

_VERSIONS: Final = (1, 2)
"""Model versions; the last one is active."""

_SAMPLES: Final = 20
"""Stochastic samples of a prediction, as by default."""

_FEATURES: Final = 128
"""Features of an image, as many as the encoder of the paper's network ends with."""

_MEASURES: Final = (
    *("lesion_uncertainty", "foreground_uncertainty", "entropy"),
    *("entropy_lm", "entropy_lad", "entropy_lcx", "entropy_rca"),
)
"""What is drawn at random."""


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
        for strategy in strategy_names():
            address = f"{site.url}/activelearning/{strategy}"

            def ask(address: str = address) -> None:
                http.post(address, json={"client_id": "bench"}, timeout=60).raise_for_status()

            [first] = time_calls(ask, 1)
            figures.append(Figure(f"{strategy}, first call", first * 1000, "ms"))
            session = site.waiting.server.process.pid
            before = processor_seconds(session)
            figures += latency(strategy, time_calls(ask, scale.calls))
            after = processor_seconds(session)
            if before is not None and after is not None:
                each = (after - before) / scale.calls * 1000
                figures.append(Figure(f"{strategy}, processor time", each, "ms", "mean of a call"))
    setting = (
        f"POST /activelearning/… with {scale.pool} unlabeled images in the pool, predicted by two "
        "model versions, each strategy with its options as they are by themselves. The first call "
        "ranks the pool; that of the first strategy loads it as well."
    )
    return Section("next-sample", "Next sample in a large pool", setting, tuple(figures))


def fill(settings: Settings, count: int) -> None:
    """Put images predicted by two model versions into a fresh database, as rows without files."""
    settings.data.mkdir(parents=True, exist_ok=True)
    database = Database(settings.database)
    database.migrate()
    with database.writing() as session:
        for version in _VERSIONS:
            _add_model_version(session, version)
        for start in range(0, count, _CHUNK):
            places = range(start, min(start + _CHUNK, count))
            session.execute(insert(ImageRow), [_image(place) for place in places])
            for version in _VERSIONS:
                predictions = _predictions(places, version, prediction_key(settings))
                session.execute(insert(PredictionRow), list(predictions))
    database.close()


def _add_model_version(session: Session, number: int) -> None:
    version = ModelVersionRow(
        id=number, job_id=f"bench-{number}", parent_id=None, sha256="0" * 64, card={}, label_count=0
    )
    version.is_active, version.created_at = number == _VERSIONS[-1], 0.0
    session.add(version)
    session.flush()


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


def _predictions(places: range, version: int, key: str) -> Iterator[dict[str, object]]:
    rng = np.random.default_rng([version, places.start])
    samples = rng.lognormal(3, 1, size=(len(places), _SAMPLES, 4)).round(4)
    totals = np.log1p(samples.sum(axis=2))
    embeddings = rng.normal(size=(len(places), _FEATURES)).astype("<f4")
    measures = rng.lognormal(size=(len(places), len(_MEASURES))).tolist()
    for nth, place in enumerate(places):
        yield {
            **dict(zip(_MEASURES, measures[nth], strict=True)),
            "image_id": f"image-{place:06d}",
            "model_version_id": version,
            "key": key,  # of another one a server that starts deletes them
            "sha256": "0" * 64,
            "scores": {},
            "agatston_samples": samples[nth].tolist(),
            "agatston": float(np.expm1(np.median(totals[nth]))),
            "clinical_uncertainty": float(totals[nth].std(ddof=1)),
            "region_uncertainty": 0.0,
            "has_candidates": True,
            "lesion_count": int(measures[nth][0] * 3),
            "slice_count": int(measures[nth][1] * 6),
            "embedding": embeddings[nth].tobytes(),
            "seconds": 1.0,
            "created_at": float(place),
        }
