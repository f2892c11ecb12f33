"""A new model version and the one that answers, measured on the same validation images.

Every prediction is stored as any other, so that a judging that was killed goes on where it
was, the version that answers is rarely predicted anew, and nothing is computed twice when the
new version is promoted.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from app.arrays import AxialImage, load_image, load_label
from app.background.work import Progress, StoppedError, WorkContext
from app.calcium.labels import ARTERIES
from app.calcium.score import calcium_scores
from app.errors import CacLabelError, DamagedWeightsError
from app.integrity.damage import note_damage
from app.prediction.rows import predict_pool_image
from app.promotion.results import CaseResult, Results, Volumes
from app.recipes import calcium
from app.store.tables import ImageRow, LabelRow, PredictionRow
from app.training.cases import labeled_images, note_unread


@dataclass(frozen=True)
class Judgement:
    """What was measured.

    Attributes:
        challenger: Results of the new version.
        champion: Results of the version that answers on the same images, None without one.
        left_out: Images of the validation set that could not be predicted by both.
        problem: Why the version that answers could not be judged; empty if it was.
    """

    challenger: Results
    champion: Results | None
    left_out: int
    problem: str = ""


class _ChampionError(Exception):
    """The version that answers cannot predict; the new one is judged alone."""


def judge(
    context: WorkContext,
    job_id: str,
    label_ids: Sequence[int],
    *,
    challenger: int,
    champion: int | None,
) -> Generator[Progress, None, Judgement]:
    """Measure both versions, one image a unit.

    Args:
        context: What the worker has.
        job_id: The training, which may be stopped between two batches of slices.
        label_ids: Labels of the validation patients; those that cover no calcium are left aside.
        challenger: Id of the new version.
        champion: Id of the version that answers, or None.

    Raises:
        StoppedError: If somebody asked the training to stop.
        DamagedWeightsError: If the weights of the new version cannot be used.
    """
    try:
        return (yield from _compare(context, job_id, label_ids, challenger, champion))
    except _ChampionError as error:
        problem = str(error)
    alone = yield from _compare(context, job_id, label_ids, challenger, None)
    return replace(alone, problem=problem)


def _compare(
    context: WorkContext,
    job_id: str,
    label_ids: Sequence[int],
    challenger: int,
    champion: int | None,
) -> Generator[Progress, None, Judgement]:
    should_stop = context.stop_check(job_id)
    pairs = [pair for pair in labeled_images(context, label_ids) if pair[0].covers_calcium]
    found: list[list[CaseResult]] = [[]] if champion is None else [[], []]
    left_out = 0

    def check(_fraction: float = 0.0) -> None:
        context.turns.give_way()
        if should_stop():
            raise StoppedError

    for number, (label, image) in enumerate(pairs, start=1):
        check()
        results = _measure(context, label, image, challenger, champion, check)
        left_out += results is None
        for cases, result in zip(found, results or [], strict=False):
            cases.append(result)
        yield Progress(number / len(pairs), f"judged on {number} of {len(pairs)} images", stage=2)
    kept = [Results(tuple(cases)) for cases in found]
    return Judgement(kept[0], kept[1] if champion is not None else None, left_out)


def _measure(
    context: WorkContext,
    label: LabelRow,
    image: ImageRow,
    challenger: int,
    champion: int | None,
    check: Callable[[float], None],
) -> list[CaseResult] | None:
    """Measure every version on an image; None when it cannot be read any more."""
    try:
        predictions = [predict_pool_image(context, challenger, image.id, check)]
        if champion is not None:
            predictions.append(_predict_champion(context, champion, image, check))
        return [case_result(context, label, image, prediction) for prediction in predictions]
    except DamagedWeightsError:
        raise
    except CacLabelError as error:
        note_unread(context, image, error)
        return None


def _predict_champion(
    context: WorkContext, champion: int, image: ImageRow, check: Callable[[float], None]
) -> PredictionRow:
    try:
        return predict_pool_image(context, champion, image.id, check)
    except DamagedWeightsError as error:
        note_damage(context.database, error, now=context.clock())
        raise _ChampionError(str(error)) from None


def case_result(
    context: WorkContext, label: LabelRow, row: ImageRow, prediction: PredictionRow
) -> CaseResult:
    """Compare a stored prediction with a label."""
    image = load_image(context.settings, context.files, row)
    wanted = load_label(context.files, image, label.sha256)
    predicted = load_label(context.files, image, prediction.sha256)
    scores = calcium_scores(
        image.hu,
        wanted,
        spacing_mm=image.spacing_mm,
        kvp=image.kvp,
        rule=context.settings.rule,
    )
    arteries = prediction.scores["arteries"]
    return CaseResult(
        image_id=row.id,
        patient=row.patient_key,
        volumes=_volumes(image, wanted, predicted),
        wanted=tuple(scores.arteries[name].agatston for name in ARTERIES),
        predicted=tuple(float(arteries[name]["agatston"]) for name in ARTERIES),
        samples=tuple(float(sum(sample)) for sample in prediction.agatston_samples),
    )


def _volumes(image: AxialImage, wanted: NDArray[np.uint8], predicted: NDArray[np.uint8]) -> Volumes:
    """Measure the calcium in mm3: shared, invented, missed."""
    is_candidate = image.hu >= image.threshold_hu
    is_wanted = calcium.is_calcium(wanted) & is_candidate
    is_predicted = calcium.is_calcium(predicted) & is_candidate
    voxel_mm3 = float(np.prod(image.spacing_mm))
    shared = int((is_wanted & is_predicted).sum())
    return (
        shared * voxel_mm3,
        (int(is_predicted.sum()) - shared) * voxel_mm3,
        (int(is_wanted.sum()) - shared) * voxel_mm3,
    )
