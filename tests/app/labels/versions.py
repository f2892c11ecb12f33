"""Submitting labels to a pool of three images, and looking at what is kept."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from sqlalchemy import select

from app import labels
from app.imaging.labelmap import read_label_map
from app.store.tables import LabelRow
from tests.app.conftest import Deployment
from tests.app.submitting import ALL_NAMES, submit_label


def submit(
    deployment: Deployment,
    path: Path,
    *,
    image_id: str = "a",
    tag: str = "final",
    params: Mapping[str, object] = ALL_NAMES,
    annotator: str = "anna",
    now: float = 10.0,
    **settings: Any,
) -> LabelRow:
    """Submit a label, perhaps in a deployment with other settings."""
    other = deployment.settings.model_copy(update=settings)
    place = Deployment(other, deployment.database, deployment.files)
    return submit_label(place, image_id, path, params=params, annotator=annotator, now=now, tag=tag)


def stored(deployment: Deployment, row: LabelRow) -> NDArray[Any]:
    """Read the canonical label map of a version."""
    return read_label_map(labels.label_file(deployment.files, row)).array


def all_rows(deployment: Deployment) -> list[LabelRow]:
    """Return every version, oldest first."""
    with deployment.database.reading() as session:
        return list(session.scalars(select(LabelRow).order_by(LabelRow.id)))


def stored_files(deployment: Deployment) -> list[Path]:
    """List the files of the store."""
    return [path for path in deployment.settings.files.rglob("*") if path.is_file()]
