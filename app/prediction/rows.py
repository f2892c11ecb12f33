"""Predictions of the pool, kept: made once for an image as it is.

A prediction is kept as a summary row, so that ranking never opens a volume, and as a
canonical label map in the file store.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import images, model_versions
from app.arrays import LABEL_EXTENSION, AxialImage, load_image
from app.background.work import WorkContext
from app.calcium.labels import CALCIUM_LABELS, LABELS
from app.errors import ConflictError
from app.imaging.labelmap import write_label_map
from app.imaging.orientation import from_axial
from app.memory import memory_needed
from app.prediction.devices import predict_with_room
from app.prediction.prediction import Prediction
from app.prediction_keys import prediction_key
from app.settings import Settings
from app.store.tables import ImageRow, PredictionRow

_TRIES: Final = 3
"""How often an image is predicted whose files change all the while."""


def predict_pool_image(
    context: WorkContext,
    version_id: int,
    image_id: str,
    on_progress: Callable[[float], None] | None = None,
) -> PredictionRow:
    """Return the prediction of an image as it is when this returns.

    A stored prediction costs nothing. A scan may have replaced the image's files while they were
    predicted; then they are predicted anew.

    Args:
        context: What the worker has.
        version_id: Model version that predicts.
        image_id: The image.
        on_progress: Told the finished fraction of the slices; what it raises ends the prediction,
            of which nothing is kept.

    Raises:
        NotFoundError: If there is no such image or model version.
        ImagingError: If the image cannot be read.
        ConflictError: If the image changes again and again.
        DamagedWeightsError: If the weights of the model version cannot be used.
        TooLittleMemoryError: If there is no memory to predict it slice by slice.
    """
    for _ in range(_TRIES):
        row = _predict_as_it_was(context, version_id, image_id, on_progress)
        if row is not None:
            return row
    raise ConflictError(f"image {image_id} changed while it was predicted; try again")


def find_row(session: Session, image_id: str, version_id: int, key: str) -> PredictionRow | None:
    """Return the prediction that a model version made of an image under a key, if it did."""
    wanted = select(PredictionRow).where(
        PredictionRow.image_id == image_id,
        PredictionRow.model_version_id == version_id,
        PredictionRow.key == key,
    )
    return session.scalars(wanted).first()


def prediction_row(
    prediction: Prediction, image_id: str, version_id: int, digest: str, settings: Settings
) -> PredictionRow:
    """Make the summary row of a prediction whose label map lies in the file store."""
    measures, shares = prediction.uncertainty, prediction.shares
    return PredictionRow(
        image_id=image_id,
        model_version_id=version_id,
        key=prediction_key(settings),
        sha256=digest,
        scores=prediction.scores.to_json(),
        agatston_samples=prediction.agatston_samples.round(4).tolist(),
        agatston=prediction.agatston,
        clinical_uncertainty=prediction.clinical_uncertainty,
        lesion_uncertainty=measures.lesion,
        region_uncertainty=prediction.region_uncertainty,
        foreground_uncertainty=measures.foreground,
        top_uncertainty=measures.top,
        pairwise_dice=measures.pairwise_dice,
        category_entropy=prediction.category_entropy,
        entropy=measures.entropy,
        entropy_lm=measures.entropy_by_artery[0],
        entropy_lad=measures.entropy_by_artery[1],
        entropy_lcx=measures.entropy_by_artery[2],
        entropy_rca=measures.entropy_by_artery[3],
        lesion_share=shares.lesion if shares else None,
        region_share=shares.region if shares else None,
        has_candidates=prediction.has_candidates,
        lesion_count=prediction.scores.total.lesions,
        slice_count=_slices_with_calcium(prediction.labels),
        embedding=prediction.embedding.astype("<f4").tobytes(),
        seconds=prediction.seconds,
    )


def encode_label_map(
    labeled: NDArray[np.uint8], image: AxialImage, *, extension: str = LABEL_EXTENSION
) -> bytes:
    """Return the file of an axial label map on the grid of the image's own file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"label{extension}"
        stored = from_axial(labeled, image.stored)
        write_label_map(path, stored, image.stored, compress=True, names=LABELS)
        return path.read_bytes()


def _predict_as_it_was(
    context: WorkContext,
    version_id: int,
    image_id: str,
    on_progress: Callable[[float], None] | None,
) -> PredictionRow | None:
    settings = context.settings
    with context.database.reading() as session:
        version = model_versions.get_version(session, version_id)
        image_row = images.get_image(session, image_id)
        known = find_row(session, image_id, version_id, prediction_key(settings))
    if known is not None:
        return known
    path = model_versions.weights_path(settings, version.job_id)
    with memory_needed(f"predicting image {image_id}"):
        image = load_image(settings, context.files, image_row)
        prediction = predict_with_room(path, context.device, image, settings, on_progress)
        encoded = encode_label_map(prediction.labels, image)
    digest = context.files.put(encoded, LABEL_EXTENSION)
    row = prediction_row(prediction, image_id, version_id, digest, settings)
    row.created_at = context.clock()
    with context.database.writing() as session:
        now = images.get_image(session, image_id)
        if _predicted_from(now) != _predicted_from(image_row):
            return None
        # Another job may have predicted the image in the meantime.
        known = find_row(session, image_id, version_id, row.key)
        if known is None:
            session.add(row)
    return known or row


def _predicted_from(image: ImageRow) -> tuple[object, ...]:
    """Return what a prediction depends on; predictions are deleted when it changes."""
    return image.content_sha256, image.kvp


def _slices_with_calcium(labeled: NDArray[np.uint8]) -> int:
    is_calcium = np.isin(labeled, list(CALCIUM_LABELS.values()))
    return int(np.count_nonzero(is_calcium.any(axis=(1, 2))))
