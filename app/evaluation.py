"""How well a model version agrees with people, and quality figures of labels on request."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from app.arrays import AxialImage, load_image, load_label
from app.background.work import Progress, Units, WorkContext
from app.calcium.agreement import icc_2_1, mean_absolute_error, volume_f1, weighted_kappa
from app.calcium.risk import RISK_CATEGORIES, risk_category
from app.calcium.score import calcium_scores
from app.errors import NotFoundError
from app.inference import find_prediction
from app.intake.pool import current_labels
from app.prediction.prediction import Prediction, predict
from app.prediction_keys import prediction_key
from app.recipes import calcium
from app.settings import Settings
from app.store.tables import ImageRow, JobRow, Json, LabelRow, ModelVersionRow, PredictionRow
from models.predictor import Predictor
from models.training.dataset import TrainingCase


@dataclass(frozen=True, eq=False)
class EvaluationCase:
    """An image with what a person says about it, in axial orientation.

    Attributes:
        image: The image.
        labels: Canonical label map, shape (Z, Y, X).
        training: The same as the network's tasks see it.
    """

    image: AxialImage
    labels: NDArray[np.uint8]
    training: TrainingCase


@dataclass(frozen=True)
class Agreement:
    """Agreement of a model version with people over several images.

    Attributes:
        images: Number of images.
        volume_f1: F1 of the calcium volume over all images, 0 to 1; NaN without any calcium.
        agatston_icc: ICC(2,1) of the total Agatston score; NaN for a single image.
        agatston_mae: Mean absolute error of the total Agatston score.
        category_kappa: Linearly weighted kappa of the risk category; NaN when not defined.
        false_calcium: Images without calcium in which some was predicted.
    """

    images: int
    volume_f1: float
    agatston_icc: float
    agatston_mae: float
    category_kappa: float
    false_calcium: int

    def to_json(self) -> Json:
        """Return the figures; what is not defined is left out, JSON knows no NaN."""
        return {
            name: value
            for name, value in asdict(self).items()
            if not isinstance(value, float) or math.isfinite(value)
        }


def judge(
    predictor: Predictor, cases: Sequence[EvaluationCase], settings: Settings
) -> Agreement | None:
    """Predict the cases and compare; None when no case covers calcium."""
    relevant = [case for case in cases if case.training.lesion is not None]
    if not relevant:
        return None
    pairs = [(case, predict(predictor, case.image, settings)) for case in relevant]
    return agreement(pairs, settings)


def agreement(pairs: Sequence[tuple[EvaluationCase, Prediction]], settings: Settings) -> Agreement:
    """Compare predictions with labels."""
    volumes = np.sum([_calcium_volumes(case, found) for case, found in pairs], axis=0)
    wanted = np.array([_total(case, settings) for case, _ in pairs])
    predicted = np.array([found.scores.total.agatston for _, found in pairs])
    return Agreement(
        images=len(pairs),
        volume_f1=volume_f1(*volumes.tolist()),
        agatston_icc=icc_2_1(wanted, predicted) if len(pairs) > 1 else math.nan,
        agatston_mae=mean_absolute_error(wanted, predicted),
        category_kappa=weighted_kappa(_categories(wanted), _categories(predicted)),
        false_calcium=int(((wanted == 0) & (predicted > 0)).sum()),
    )


def evaluate_labels(context: WorkContext, job: JobRow) -> Units:
    """Compute a scoring method of MONAI Label's kind for every image it applies to."""
    method = str(job.request["method"])
    if method == "dice":
        return (yield from _dice(context))
    if method == "uncertainty":
        yield Progress(0.0)
        return _uncertainty(context)
    raise NotFoundError(f"no scoring method {method!r}; known: dice, uncertainty")


def _dice(context: WorkContext) -> Units:
    """Compare the submitted label with the stored prediction, image by image."""
    result: Json = {}
    with context.database.reading() as session:
        pairs = current_labels(session)
    for done, (label, image_row) in enumerate(pairs):
        context.turns.give_way()
        found = _image_dice(context, label, image_row)
        if found is not None:
            result[image_row.id] = {"dice": found}
        yield Progress((done + 1) / len(pairs))
    return result


def _image_dice(context: WorkContext, label: LabelRow, row: ImageRow) -> float | None:
    with context.database.reading() as session:
        prediction = find_prediction(session, row.id)
    if prediction is None or not label.covers_calcium:
        return None
    image = load_image(context.settings, context.files, row)
    wanted = _calcified(image, load_label(context.files, image, label.sha256))
    found = _calcified(image, load_label(context.files, image, prediction.sha256))
    total = int(wanted.sum() + found.sum())
    return 2 * int((wanted & found).sum()) / total if total else 1.0


def _uncertainty(context: WorkContext) -> Json:
    with context.database.reading() as session:
        rows = session.execute(
            select(
                PredictionRow.image_id,
                PredictionRow.clinical_uncertainty,
                PredictionRow.lesion_uncertainty,
            )
            .join(ModelVersionRow)
            .where(ModelVersionRow.is_active, PredictionRow.key == prediction_key(context.settings))
            .order_by(PredictionRow.image_id)
        )
        return {
            image: {"clinical_uncertainty": clinical, "lesion_uncertainty": lesion}
            for image, clinical, lesion in rows
        }


def _calcium_volumes(case: EvaluationCase, found: Prediction) -> NDArray[np.float64]:
    """Measure the calcium in mm3: shared, invented, missed."""
    wanted = _calcified(case.image, case.labels)
    predicted = _calcified(case.image, found.labels)
    shared = int((wanted & predicted).sum())
    voxels = np.array([shared, int(predicted.sum()) - shared, int(wanted.sum()) - shared])
    return voxels * float(np.prod(case.image.spacing_mm))


def _calcified(image: AxialImage, labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Mark the labeled calcium; painted voxels below the threshold are none in any score."""
    marked: NDArray[np.bool_] = calcium.is_calcium(labels) & (image.hu >= image.threshold_hu)
    return marked


def _total(case: EvaluationCase, settings: Settings) -> float:
    return calcium_scores(
        case.image.hu,
        case.labels,
        spacing_mm=case.image.spacing_mm,
        kvp=case.image.kvp,
        rule=settings.rule,
    ).total.agatston


def _categories(agatston: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.array([RISK_CATEGORIES.index(risk_category(float(score))) for score in agatston])
