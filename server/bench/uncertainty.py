"""Whether the uncertainty of a prediction tracks its errors, beside the entropy of one pass."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata, spearmanr

from app.arrays import AxialImage, axial_image
from app.calcium.phantom import phantom_patient
from app.calcium.samples import agatston_samples
from app.calcium.score import calcium_scores
from app.calcium.stakes import Stakes, agatston_at_stake
from app.recipes import calcium
from app.settings import load_settings
from models.predictor import NetworkPrediction, Predictor
from models.training.trainer import Trainer
from server.bench.figures import Figure, Section
from server.bench.scale import Scale
from strategies.aggregation import ImageUncertainty, image_uncertainty
from strategies.uncertainty import clinical_uncertainty

_TRAINING, _TEST = 40, 120
_TRAINING_SEED, _TEST_SEED = 11, 12
_SIZE: Final = (128, 128, 24)
_SEED: Final = 0

_DRAWS: Final = 2000
"""Draws of patients behind an interval."""

_UNSAMPLED: Final = "entropy of one pass"
"""What the measures are called that need no sample."""


@dataclass(frozen=True, eq=False)
class _Case:
    """A synthetic patient and its true labels."""

    image: AxialImage
    labels: NDArray[np.uint8]

    @property
    def is_calcium(self) -> NDArray[np.bool_]:
        return calcium.is_calcium(self.labels) & (self.image.hu >= self.image.threshold_hu)

    def agatston(self, labels: NDArray[np.uint8]) -> float:
        scores = calcium_scores(
            self.image.hu, labels, spacing_mm=self.image.spacing_mm, kvp=self.image.kvp
        )
        return float(scores.total.agatston)


@dataclass(frozen=True, eq=False)
class Judged:
    """The errors of a prediction and what was said about them beforehand.

    Attributes:
        score_error: Difference of the Agatston score to the true one.
        overlap_error: One minus the Dice of the calcium; 0 where both are empty.
        measures: Uncertainty of the image by name.
        is_predicted: Whether each component of candidates is predicted as calcium, shape (L,).
        is_true: Whether each of them is calcium, shape (L,).
        information: Mean mutual information of each of them, shape (L,).
        mean_entropy: Mean entropy of the samples' mean of each of them, shape (L,).
        entropy: Mean entropy of the deterministic pass of each of them, shape (L,).
    """

    score_error: float
    overlap_error: float
    measures: Mapping[str, float]
    is_predicted: NDArray[np.bool_]
    is_true: NDArray[np.bool_]
    information: NDArray[np.float64]
    mean_entropy: NDArray[np.float64]
    entropy: NDArray[np.float64]


_ERRORS: Final[Mapping[str, Callable[[Judged], float]]] = {
    "difference of Agatston": lambda one: one.score_error,
    "1 - Dice": lambda one: one.overlap_error,
}
"""Errors of a prediction by name."""


def measure(scale: Scale) -> Section:
    """Train the small network as a worker would and ask it about unseen patients."""
    torch.set_num_threads(os.cpu_count() or 1)
    training_count, test_count = (3, 3) if scale.is_quick else (_TRAINING, _TEST)
    predictor = _trained(scale, training_count)
    judged = []
    for index in range(test_count):
        judged.append(judge(predictor, _make_case(_TEST_SEED, index), scale.samples))
        scale.narrator.progress(f"predicting unseen patients, {index + 1} of {test_count}")
    size = "x".join(map(str, _SIZE))
    return Section(
        "uncertainty",
        "Does the uncertainty track the errors?",
        f"Small network trained on {training_count} synthetic patients of {size} voxels (seed"
        f" {_TRAINING_SEED}), {test_count} unseen ones (seed {_TEST_SEED}), {scale.samples}"
        " samples. Rank correlation over patients; area under the ROC curve over components of"
        " candidates: is a component told wrongly the one in doubt?",
        (*_over_patients(judged), *beside_one_pass(judged), *_over_lesions(judged)),
    )


def judge(predictor: Predictor, case: _Case, samples: int) -> Judged:
    """Predict a patient and compare with the truth."""
    image = case.image
    told, plain = (
        predictor.predict(
            image.hu,
            spacing_mm=image.spacing_mm,
            threshold_hu=image.threshold_hu,
            samples=count,
            seed=_SEED,
        )
        for count in (samples, 0)
    )
    stakes = agatston_at_stake(image.hu, told.candidate_index, spacing_mm=image.spacing_mm)
    by_samples = _aggregate(image, told, told.mutual_information, stakes)
    by_entropy = _aggregate(image, told, plain.entropy, stakes)
    scores = agatston_samples(
        image.hu,
        told.candidate_index,
        told.artery_samples,
        spacing_mm=image.spacing_mm,
        threshold_hu=image.threshold_hu,
    )
    component = stakes.component - 1
    return Judged(
        score_error=abs(case.agatston(calcium.label_map(told)) - case.agatston(case.labels)),
        overlap_error=1.0 - _dice(told.lesion, case.is_calcium),
        measures={
            "clinical (samples)": float(clinical_uncertainty(scores.sum(axis=1)[None])[0]),
            "lesion (samples)": by_samples.lesion,
            "foreground (samples)": by_samples.foreground,
            "top (samples)": by_samples.top,
            "pairwise Dice (samples)": by_samples.pairwise_dice,
            "foreground, entropy of the samples' mean": by_samples.entropy,
            "lesion, entropy of one pass": by_entropy.lesion,
            "foreground, entropy of one pass": by_entropy.foreground,
            "top, entropy of one pass": by_entropy.top,
        },
        is_predicted=_any(component, told.lesion.ravel()[told.candidate_index]),
        is_true=_any(component, case.is_calcium.ravel()[told.candidate_index]),
        information=_mean(component, told.mutual_information),
        mean_entropy=_mean(component, told.entropy),
        entropy=_mean(component, plain.entropy),
    )


def area_under_roc(values: NDArray[np.float64], is_wrong: NDArray[np.bool_]) -> float:
    """Return the chance that a wrong item has the higher value; ties count half.

    One half where all are wrong or none is: nothing can be told apart then.
    """
    wrong, right = int(is_wrong.sum()), int((~is_wrong).sum())
    if not wrong or not right:
        return 0.5
    ranks = rankdata(values)
    return float((ranks[is_wrong].sum() - wrong * (wrong + 1) / 2) / (wrong * right))


def _over_patients(judged: Sequence[Judged]) -> tuple[Figure, ...]:
    return tuple(
        Figure(
            f"{name}, correlation with {error}",
            _correlation(
                np.array([one.measures[name] for one in judged]),
                np.array([of(one) for one in judged]),
            ),
            "",
        )
        for error, of in _ERRORS.items()
        for name in judged[0].measures
    )


def beside_one_pass(judged: Sequence[Judged]) -> tuple[Figure, ...]:
    """Compare each measure with the entropy of one pass that does best on these patients."""
    return tuple(
        _gain(name, error, judged)
        for error in _ERRORS
        for name in judged[0].measures
        if _UNSAMPLED not in name
    )


def _gain(name: str, error: str, judged: Sequence[Judged]) -> Figure:
    errors = np.array([_ERRORS[error](one) for one in judged])
    values = {key: np.array([one.measures[key] for one in judged]) for key in judged[0].measures}
    best = max(
        (key for key in values if _UNSAMPLED in key),
        key=lambda key: _correlation(values[key], errors),
    )
    rng = np.random.default_rng(_SEED)
    draws = rng.integers(0, len(judged), (_DRAWS, len(judged)))
    gains = [
        _correlation(values[name][drawn], errors[drawn])
        - _correlation(values[best][drawn], errors[drawn])
        for drawn in draws
    ]
    low, high = np.quantile(gains, (0.025, 0.975))
    return Figure(
        f"{name} less {best}, correlation with {error}",
        _correlation(values[name], errors) - _correlation(values[best], errors),
        "",
        f"95 % interval {low:.2f} to {high:.2f}",
    )


def _over_lesions(judged: Sequence[Judged]) -> tuple[Figure, ...]:
    predicted, true = (
        np.concatenate([getattr(one, name) for one in judged])
        for name in ("is_predicted", "is_true")
    )
    measures = {
        "mutual information": np.concatenate([one.information for one in judged]),
        "entropy of the samples' mean": np.concatenate([one.mean_entropy for one in judged]),
        "entropy of one pass": np.concatenate([one.entropy for one in judged]),
    }
    kinds = {
        "false positives among what is predicted": predicted,
        "false negatives among what is left out": ~predicted,
    }
    return tuple(
        Figure(
            f"{kind}, {name}",
            area_under_roc(values[asked], (predicted != true)[asked]),
            "",
            f"{int((predicted != true)[asked].sum())} of {int(asked.sum())}",
        )
        for kind, asked in kinds.items()
        for name, values in measures.items()
    )


def _correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    if np.ptp(first) == 0.0 or np.ptp(second) == 0.0:
        return 0.0
    return float(spearmanr(first, second).statistic)


def _aggregate(
    image: AxialImage,
    told: NetworkPrediction,
    values: NDArray[np.float32],
    stakes: Stakes,
) -> ImageUncertainty:
    return image_uncertainty(
        values,
        entropy=told.entropy,
        artery=told.artery,
        component=stakes.component,
        agatston_at_stake=stakes.agatston,
        artery_samples=told.artery_samples,
        voxel_volume_mm3=float(np.prod(image.spacing_mm)),
    )


def _dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    voxels = int(first.sum()) + int(second.sum())
    return 2.0 * int((first & second).sum()) / voxels if voxels else 1.0


def _any(component: NDArray[np.int64], marked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = np.bincount(component, weights=marked) > 0
    return found


def _mean(component: NDArray[np.int64], values: NDArray[np.float32]) -> NDArray[np.float64]:
    means: NDArray[np.float64] = np.bincount(component, weights=values) / np.bincount(component)
    return means


def _make_case(seed: int, index: int) -> _Case:
    phantom = phantom_patient(seed, index, _SIZE)
    # A phantom is axial and its labels lie on its own grid.
    return _Case(axial_image(phantom.volume), phantom.labels.astype(np.uint8))


def _trained(scale: Scale, count: int) -> Predictor:
    settings = load_settings(profile="small", device="cpu")
    cases = []
    for index in range(count):
        case = _make_case(_TRAINING_SEED, index)
        name = f"training-{index}"
        cases.append(
            calcium.training_case(
                name, case.image, case.labels, covers_calcium=True, covers_regions=True
            )
        )
        scale.narrator.progress(f"making synthetic patients, {len(cases)} of {count}")
    config = calcium.trainer_config(settings, max_epochs=int(scale.is_quick), device="cpu")
    folder = scale.folder / "uncertainty"
    trainer = Trainer(calcium.network_config(settings), config, cases, [], folder / "run")
    while not trainer.is_finished:
        report = trainer.run_epoch(lambda _: None, lambda: False)
        scale.narrator.progress(f"epoch {report.epoch}/{config.epochs}, {report.seconds:.0f} s")
    path: Path = folder / "weights.safetensors"
    trainer.write_checkpoint(path, {})
    return Predictor(path)
