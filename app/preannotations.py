"""Predictions as labels of the tag ``original``, which viewers load with the next sample."""

from pathlib import Path
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import inference, labels, model_versions
from app.calcium.labels import LABELS
from app.intake.pool import get_image
from app.store.files import FileStore
from app.store.tables import Json, PredictionRow

TAG: Final = "original"
"""Tag of predictions on the MONAI Label wire."""

_EXTENSION: Final = ".nrrd"


def add_predictions(session: Session, entries: Json) -> Json:
    """Show each image's prediction of the active model as a label, unless a person's is there.

    Args:
        session: Open transaction; reading is enough.
        entries: Images as ``datastore.overview`` yields them; completed in place.

    Returns:
        The entries.
    """
    version = model_versions.active(session)
    if version is None:
        return entries
    of_people = labels.images_with_label_of_a_person(session, TAG, entries)
    predicted = select(PredictionRow.image_id, PredictionRow.created_at).where(
        PredictionRow.model_version_id == version.id, PredictionRow.image_id.in_(entries)
    )
    for image_id, created_at in session.execute(predicted):
        if image_id not in of_people:
            info = {**_info(image_id), "ts": int(created_at)}
            entries[image_id]["labels"][TAG] = {"ext": _EXTENSION, "info": info}
    return entries


def label_file(session: Session, files: FileStore, image_id: str, tag: str) -> Path:
    """Return the label map of a label, or of the prediction that stands for it.

    Raises:
        NotFoundError: If there is neither, or no such image.
    """
    prediction = _stand_in(session, image_id, tag)
    if prediction is not None:
        return files.path(prediction.sha256, _EXTENSION)
    return labels.label_file(files, labels.current_label(session, image_id, tag))


def label_info(session: Session, image_id: str, tag: str) -> Json:
    """Return what is kept with a label, or is known of the prediction that stands for it.

    The calcium table is in it where there is one, and the time that annotating took.

    Raises:
        NotFoundError: If there is neither, or no such image.
    """
    prediction = _stand_in(session, image_id, tag)
    if prediction is not None:
        known = {"ts": int(prediction.created_at), "calcium": prediction.scores}
        return _info(image_id) | known
    row = labels.current_label(session, image_id, tag)
    scores = {} if row.scores is None else {"calcium": row.scores}
    seconds = row.annotation_seconds
    timed = {} if seconds is None else {"annotation_seconds": round(seconds, 1)}
    return {**row.info, **scores, **timed}


def keep(session: Session, files: FileStore, image_id: str, tag: str, *, now: float) -> None:
    """Keep the prediction that stands for a label as that label, for what is said about it."""
    prediction = _stand_in(session, image_id, tag)
    if prediction is not None:
        labels.keep_prediction(
            session,
            files,
            image_id=image_id,
            tag=tag,
            sha256=prediction.sha256,
            info=_info(image_id),
            now=now,
        )


def _stand_in(session: Session, image_id: str, tag: str) -> PredictionRow | None:
    """Return the prediction that is shown as a label, None where a label itself is.

    A prediction that was kept, perhaps of a model version before, gives way to that of the
    active one; what a person made or judged does not.
    """
    if tag != TAG:
        return None
    kept = labels.find_label(session, image_id, tag)
    if kept is not None and labels.is_of_a_person(kept):
        return None
    get_image(session, image_id)
    return inference.find_prediction(session, image_id)


def _info(image_id: str) -> Json:
    params: Json = {"label_names": LABELS}
    return {"model": "calcium", "params": params, "name": f"{image_id}{_EXTENSION}"}
