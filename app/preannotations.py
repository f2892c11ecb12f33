"""Predictions as labels of the tag ``original``, which viewers load with the next sample."""

from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import model_versions
from app.calcium.labels import LABELS
from app.store.tables import Json, PredictionRow

TAG: Final = "original"
"""Tag of predictions on the MONAI Label wire."""

_EXTENSION: Final = ".nrrd"


def add_predictions(session: Session, overview: Json) -> Json:
    """Show every image's prediction of the active model as a label, unless one is kept already.

    Args:
        session: Open transaction; reading is enough.
        overview: The datastore as ``datastore.overview`` gives it; completed in place.

    Returns:
        The overview.
    """
    version = model_versions.active(session)
    if version is None:
        return overview
    predicted = select(PredictionRow.image_id, PredictionRow.created_at).where(
        PredictionRow.model_version_id == version.id
    )
    for image_id, created_at in session.execute(predicted):
        if image_id in overview["objects"]:
            info = {**_info(image_id), "ts": int(created_at)}
            labels = overview["objects"][image_id]["labels"]
            labels.setdefault(TAG, {"ext": _EXTENSION, "info": info})
    return overview


def _info(image_id: str) -> Json:
    params: Json = {"label_names": LABELS}
    return {"model": "calcium", "params": params, "name": f"{image_id}{_EXTENSION}"}
