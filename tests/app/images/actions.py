"""What happens to images of a pool, and what is seen of them."""

from pathlib import Path

import numpy as np
from sqlalchemy import select

from app import images
from app.imaging.labelmap import write_label_map
from app.imaging.volume_writer import write_volume
from app.store.tables import ImageRow, PredictionRow
from tests.app.conftest import Deployment
from tests.app.pool import add_model_version, add_prediction
from tests.app.submitting import submit_label
from tests.factories import make_volume


def upload(
    deployment: Deployment, path: Path, *, image_id: str | None = None, name: str = ""
) -> ImageRow:
    checked = images.check_upload(
        deployment.files,
        deployment.settings,
        path=path,
        image_id=image_id,
        name=name or path.name,
        info={"client_id": "user-xyz"},
        now=100.0,
    )
    with deployment.database.writing() as session:
        return images.keep_upload(session, checked, now=100.0)


def volume_file(folder: Path, name: str = "case.nii.gz", seed: int = 0) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(path, make_volume(seed=seed))
    return path


def scan(deployment: Deployment, now: float = 1.0) -> images.ScanReport:
    return images.scan_studies(deployment.database, deployment.settings, now=lambda: now)


def all_images(deployment: Deployment) -> dict[str, ImageRow]:
    with deployment.database.reading() as session:
        return {row.id: row for row in session.scalars(select(ImageRow))}


def problems(deployment: Deployment) -> dict[str, str]:
    with deployment.database.reading() as session:
        return {row.path: row.problem for row in images.list_quarantine(session)}


def submit(deployment: Deployment, image_id: str) -> None:
    path = deployment.settings.data / "label.nrrd"
    volume = make_volume()
    write_label_map(path, np.ones(volume.grid.shape, np.uint8), volume.grid, compress=True)
    submit_label(deployment, image_id, path, params={})


def predict(deployment: Deployment, image_id: str) -> None:
    with deployment.database.writing() as session:
        add_prediction(session, image_id, add_model_version(session).id, uncertainty=1.0)


def predicted(deployment: Deployment) -> list[str]:
    with deployment.database.reading() as session:
        return list(session.scalars(select(PredictionRow.image_id)))
