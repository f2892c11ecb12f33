"""Predicting images: one for a client who waits, chunks of the pool, or a batch on request.

A prediction is kept as a summary row, so that ranking never opens a volume, and as a
canonical label map in the file store.
"""

import logging
import tempfile
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import images, labels, model_versions, sessions
from app.arrays import LABEL_EXTENSION, AxialImage, axial_image, load_image
from app.background.work import Progress, Units, WorkContext
from app.calcium.labels import CALCIUM_LABELS, LABELS
from app.calcium.samples import agatston_samples
from app.calcium.score import CalciumScores, calcium_scores
from app.calcium.stakes import agatston_at_stake
from app.errors import CacLabelError, ConflictError, InvalidInputError
from app.imaging.labelmap import write_label_map
from app.imaging.orientation import from_axial
from app.imaging.reader import read_volume
from app.prediction_keys import prediction_key
from app.recipes.calcium import label_map
from app.settings import Settings
from app.store.tables import ImageRow, JobRow, Json, ModelVersionRow, PredictionRow
from models.predictor import NetworkPrediction, Predictor
from strategies.aggregation import ImageUncertainty, image_uncertainty
from strategies.uncertainty import (
    VarianceShares,
    category_entropy,
    clinical_uncertainty,
    variance_shares,
)

logger = logging.getLogger(__name__)

_TRIES: Final = 3
"""How often an image is predicted whose files change all the while."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model version says about an image, ready to be stored.

    Attributes:
        labels: Canonical label map in axial orientation, shape (Z, Y, X).
        scores: Calcium table of the label map.
        agatston_samples: Agatston score per sample and artery, shape (T, 4).
        clinical_uncertainty: Standard deviation of log(1 + total Agatston) over the samples.
        category_entropy: Entropy of the samples' risk categories, in nats.
        uncertainty: Measures of the candidate voxels.
        shares: Which head's doubt moves the scores.
        region_uncertainty: Entropy at the boundary of the artery regions, in nats.
        has_candidates: Whether any voxel within reach may be calcium.
        embedding: Encoder features, shape (D,).
        seconds: Time it took.
    """

    labels: NDArray[np.uint8]
    scores: CalciumScores
    agatston_samples: NDArray[np.float64]
    clinical_uncertainty: float
    category_entropy: float
    uncertainty: ImageUncertainty
    shares: VarianceShares
    region_uncertainty: float
    has_candidates: bool
    embedding: NDArray[np.float32]
    seconds: float

    @property
    def agatston(self) -> float:
        """Median of the samples' total scores."""
        return float(np.median(self.agatston_samples.sum(axis=1)))


def predict(predictor: Predictor, image: AxialImage, settings: Settings) -> Prediction:
    """Predict an image and score what was found, in every sample."""
    started = time.monotonic()
    raw = predictor.predict(
        image.hu,
        spacing_mm=image.spacing_mm,
        threshold_hu=image.threshold_hu,
        samples=settings.samples,
        seed=settings.seed,
    )
    labeled = label_map(raw)
    samples = _agatston(image, raw, raw.artery_samples, settings)
    totals = samples.sum(axis=1)[None]
    return Prediction(
        labels=labeled,
        scores=_scores(image, labeled, settings),
        agatston_samples=samples,
        clinical_uncertainty=float(clinical_uncertainty(totals)[0]),
        category_entropy=float(category_entropy(totals)[0]),
        uncertainty=_uncertainty(image, raw, settings),
        shares=_shares(image, raw, samples, settings),
        region_uncertainty=raw.region_entropy,
        has_candidates=raw.candidate_index.size > 0,
        embedding=raw.embedding,
        seconds=time.monotonic() - started,
    )


def predict_one(context: WorkContext, job: JobRow) -> Units:
    """Predict one image of the pool or of a session for a client who waits."""
    yield Progress(0.0, "predicting")
    with context.turns.interactive():
        if job.request.get("session"):
            return _predict_session(context, job)
        row = predict_pool_image(context, job.request["model_version"], job.request["image"])
        return {"prediction_id": row.id, "sha256": row.sha256}


def score_pool(context: WorkContext, job: JobRow) -> Units:
    """Predict a chunk of the pool, one image a unit; images seen already cost nothing."""
    wanted: list[str] = job.request["images"]
    failed = 0
    for done, image_id in enumerate(wanted):
        context.turns.give_way()
        if not _is_active(context, job.request["model_version"]):
            yield Progress(1.0, "left: another model version answers now")
            break
        failed += not _try_predict(context, job.request["model_version"], image_id)
        yield Progress((done + 1) / len(wanted))
    return {"images": len(wanted), "failed": failed}


def predict_batch(context: WorkContext, job: JobRow) -> Units:
    """Predict all, the labeled or the unlabeled images and keep the results as labels."""
    tag = str(job.request.get("label_tag", "original"))
    result: Json = {}
    with context.database.reading() as session:
        version = model_versions.active(session)
        if version is None:
            raise InvalidInputError("no trained model yet; submit labels and start a training")
        wanted = images.image_ids(session, which=job.request.get("images", "all"))
    for done, image_id in enumerate(wanted):
        context.turns.give_way()
        if _try_predict(context, version.id, image_id):
            result[image_id] = _keep_as_label(context, version, image_id, tag)
        else:
            result[image_id] = {}
        yield Progress((done + 1) / len(wanted), image_id)
    return result


def predict_pool_image(context: WorkContext, version_id: int, image_id: str) -> PredictionRow:
    """Return the prediction of an image as it is when this returns.

    A stored prediction costs nothing. A scan may have replaced the image's files while they were
    predicted; then they are predicted anew.

    Raises:
        NotFoundError: If there is no such image or model version.
        ImagingError: If the image cannot be read.
        ConflictError: If the image changes again and again.
    """
    for _ in range(_TRIES):
        row = _predict_as_it_was(context, version_id, image_id)
        if row is not None:
            return row
    raise ConflictError(f"image {image_id} changed while it was predicted; try again")


@lru_cache(maxsize=2)
def load_predictor(path: Path, device: str) -> Predictor:
    """Return the network of a checkpoint, kept in memory for the next image."""
    return Predictor(path, device)


def checkpoint_path(settings: Settings, job_id: str) -> Path:
    """Return where the weights of the model version trained by a job lie."""
    return settings.data / "models" / f"{job_id}.safetensors"


def encode_label_map(
    labeled: NDArray[np.uint8], image: AxialImage, *, extension: str = LABEL_EXTENSION
) -> bytes:
    """Return the file of an axial label map on the grid of the image's own file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"label{extension}"
        stored = from_axial(labeled, image.stored)
        write_label_map(path, stored, image.stored, compress=True, names=LABELS)
        return path.read_bytes()


def _uncertainty(image: AxialImage, raw: NetworkPrediction, settings: Settings) -> ImageUncertainty:
    stakes = agatston_at_stake(
        image.hu, raw.candidate_index, spacing_mm=image.spacing_mm, rule=settings.rule
    )
    return image_uncertainty(
        raw.mutual_information,
        entropy=raw.entropy,
        artery=raw.artery,
        component=stakes.component,
        agatston_at_stake=stakes.agatston,
        artery_samples=raw.artery_samples,
        voxel_volume_mm3=float(np.prod(image.spacing_mm)),
    )


def _agatston(
    image: AxialImage,
    raw: NetworkPrediction,
    artery_samples: NDArray[np.uint8],
    settings: Settings,
) -> NDArray[np.float64]:
    return agatston_samples(
        image.hu,
        raw.candidate_index,
        artery_samples,
        spacing_mm=image.spacing_mm,
        threshold_hu=image.threshold_hu,
        rule=settings.rule,
    )


def _shares(
    image: AxialImage, raw: NetworkPrediction, samples: NDArray[np.float64], settings: Settings
) -> VarianceShares:
    lesion, region = (
        _agatston(image, raw, raw.samples_by_head[head], settings) for head in ("lesion", "region")
    )
    if len(lesion) < 2:
        return VarianceShares(0.0, 0.0)
    # The same masks for all three: what differs is where they are active.
    return variance_shares(samples[: len(lesion)], lesion, region)


def _scores(image: AxialImage, labeled: NDArray[np.uint8], settings: Settings) -> CalciumScores:
    return calcium_scores(
        image.hu,
        labeled,
        spacing_mm=image.spacing_mm,
        kvp=image.kvp,
        rule=settings.rule,
        mass_factor=settings.mass_factor,
    )


def _predict_as_it_was(
    context: WorkContext, version_id: int, image_id: str
) -> PredictionRow | None:
    settings = context.settings
    with context.database.reading() as session:
        version = model_versions.get_version(session, version_id)
        image_row = images.get_image(session, image_id)
        known = _find_row(session, image_id, version_id, prediction_key(settings))
    if known is not None:
        return known
    predictor = load_predictor(checkpoint_path(settings, version.job_id), context.device)
    image = load_image(settings, context.files, image_row)
    prediction = predict(predictor, image, settings)
    digest = context.files.put(encode_label_map(prediction.labels, image), LABEL_EXTENSION)
    row = _row(prediction, image_id, version_id, digest, settings)
    row.created_at = context.clock()
    with context.database.writing() as session:
        now = images.get_image(session, image_id)
        if _predicted_from(now) != _predicted_from(image_row):
            return None
        # Another job may have predicted the image in the meantime.
        known = _find_row(session, image_id, version_id, row.key)
        if known is None:
            session.add(row)
    return known or row


def _predicted_from(image: ImageRow) -> tuple[object, ...]:
    """Return what a prediction depends on; predictions are deleted when it changes."""
    return image.content_sha256, image.kvp


def _slices_with_calcium(labeled: NDArray[np.uint8]) -> int:
    is_calcium = np.isin(labeled, list(CALCIUM_LABELS.values()))
    return int(np.count_nonzero(is_calcium.any(axis=(1, 2))))


def _row(
    prediction: Prediction, image_id: str, version_id: int, digest: str, settings: Settings
) -> PredictionRow:
    measures = prediction.uncertainty
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
        lesion_share=prediction.shares.lesion,
        region_share=prediction.shares.region,
        has_candidates=prediction.has_candidates,
        lesion_count=prediction.scores.total.lesions,
        slice_count=_slices_with_calcium(prediction.labels),
        embedding=prediction.embedding.astype("<f4").tobytes(),
        seconds=prediction.seconds,
    )


def _predict_session(context: WorkContext, job: JobRow) -> Json:
    settings = context.settings
    with context.database.reading() as session:
        version = model_versions.get_version(session, job.request["model_version"])
        path = sessions.image_path(session, settings, job.request["session"])
    image = axial_image(read_volume(path))
    predictor = load_predictor(checkpoint_path(settings, version.job_id), context.device)
    prediction = predict(predictor, image, settings)
    digest = context.files.put(encode_label_map(prediction.labels, image), LABEL_EXTENSION)
    return {
        "sha256": digest,
        "scores": prediction.scores.to_json(),
        "agatston_samples": prediction.agatston_samples.round(4).tolist(),
        "lesion_share": prediction.shares.lesion,
        "region_share": prediction.shares.region,
        "seconds": prediction.seconds,
    }


def _try_predict(context: WorkContext, version_id: int, image_id: str) -> bool:
    """Predict an image; one that cannot be read is left out, and told."""
    try:
        predict_pool_image(context, version_id, image_id)
    except CacLabelError as error:
        logger.warning("image %s was not predicted: %s", image_id, error)
        return False
    return True


def _keep_as_label(context: WorkContext, version: ModelVersionRow, image_id: str, tag: str) -> Json:
    with context.database.writing() as session:
        row = _find_row(session, image_id, version.id, prediction_key(context.settings))
        kept = labels.find_label(session, image_id, tag)
        # What a person made or judged stays; the other images go on.
        if row is None or (kept is not None and labels.is_of_a_person(kept)):
            return {}
        params: Json = {"label_names": LABELS, "scores": row.scores}
        labels.keep_prediction(
            session,
            context.files,
            image_id=image_id,
            tag=tag,
            sha256=row.sha256,
            info={"model": "calcium", "params": params},
            now=context.clock(),
        )
        return {"label": image_id, "tag": tag, "params": params}


def _find_row(session: Session, image_id: str, version_id: int, key: str) -> PredictionRow | None:
    wanted = select(PredictionRow).where(
        PredictionRow.image_id == image_id,
        PredictionRow.model_version_id == version_id,
        PredictionRow.key == key,
    )
    return session.scalars(wanted).first()


def _is_active(context: WorkContext, version_id: int) -> bool:
    with context.database.reading() as session:
        version = model_versions.active(session)
    return version is not None and version.id == version_id
