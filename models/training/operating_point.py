"""Choose how sure a network must be, on patients it has not seen."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from ..inputs import padded_size
from ..network import MultiTaskNetwork
from .dataset import Item, TrainingCase, make_batch
from .validation import StoppedValidationError

_MARGINS: Final = np.arange(0.0, 8.01, 0.5)
"""Log odds that are tried; at 8 a probability of 0.9997 is asked for."""

_EXPECTED_SHARE: Final = 0.3
"""What to ask for before many patients have spoken, as a share of the log odds that true calcium
has in the median: 3 for networks trained to the end (see docs/adr/0013), less for one that has
only begun and is sure of nothing. The sampling of slices alone adds 1.7 to the log odds."""

_EXPECTATION_WEIGHT: Final = 10
"""Patients that it counts for: the best margin of ten patients may be 0 as well as 8."""

_RESAMPLINGS: Final = 200
"""Bootstrap samples of the patients whose best margins are averaged."""

_TYPICAL_LESION_MM3: Final = 10.0
"""Calcium added to both masks of a patient: without it a single voxel that is wrong in a patient
without calcium would weigh as much as a large plaque that is missed."""


_NOTHING: Final = 1e-6
"""Volume in mm3 that makes a fraction of nothing by nothing one."""


@dataclass(frozen=True, eq=False)
class _Candidates:
    """Log odds of a patient's candidates that matter, whether they are calcium, their volume."""

    odds: NDArray[np.float32]
    is_calcium: NDArray[np.bool_]
    voxel_mm3: float

    def volumes_mm3(self, margin: float) -> tuple[float, float, float]:
        """Return the calcium shared, predicted and true."""
        found = self.odds >= margin
        voxels = ((found & self.is_calcium).sum(), found.sum(), self.is_calcium.sum())
        shared, predicted, true = (float(count) * self.voxel_mm3 for count in voxels)
        return shared, predicted, true


def margin_steps(
    network: MultiTaskNetwork,
    cases: Sequence[TrainingCase],
    batch_size: int,
    should_stop: Callable[[], bool],
) -> Generator[float, None, float | None]:
    """Choose the log odds from which on a candidate is to be called a lesion, case by case.

    A margin is worth the sum of two measures that pull at different ends: the volume F1 over all
    patients, which large plaques decide, and the mean over patients of a smoothed Dice, in which
    a patient without calcium counts as much as any other. The best margin jumps with every
    patient, so it is averaged over bootstrap samples of them and moved towards what is expected,
    the more the fewer they are.

    Args:
        network: Network in evaluation mode.
        cases: Patients it has not seen.
        batch_size: Slices at a time.
        should_stop: Asked before every batch.

    Yields:
        The fraction of the cases that is done.

    Returns:
        The margin, 0 to 8; None when no case has calcium, which would say what must be found.

    Raises:
        StoppedValidationError: If ``should_stop`` said yes.
    """
    judged = [case for case in cases if case.lesion is not None]
    if not judged or all(task.name != "lesion" for task in network.config.tasks):
        return None
    patients = []
    for number, case in enumerate(judged, start=1):
        patients.append(_candidates(network, case, batch_size, should_stop))
        yield number / len(judged)
    return _margin_of(patients)


def choose_margin(
    network: MultiTaskNetwork, cases: Sequence[TrainingCase], batch_size: int
) -> float | None:
    """Choose a margin as ``margin_steps`` does, in one go."""
    steps = margin_steps(network, cases, batch_size, lambda: False)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            chosen: float | None = end.value
            return chosen


def _margin_of(patients: Sequence[_Candidates]) -> float | None:
    volumes = np.array([[one.volumes_mm3(margin) for margin in _MARGINS] for one in patients])
    calcium = np.concatenate([one.odds[one.is_calcium] for one in patients])
    if not calcium.size:
        return None
    expected = np.clip(_EXPECTED_SHARE * float(np.median(calcium)), _MARGINS[0], _MARGINS[-1])
    count = len(patients)
    best = _average_best_margin(volumes) * count + float(expected) * _EXPECTATION_WEIGHT
    return best / (count + _EXPECTATION_WEIGHT)


def _average_best_margin(volumes: NDArray[np.float64]) -> float:
    """Average the best margin over bootstrap samples of the patients, always the same ones."""
    count = len(volumes)
    samples = np.random.default_rng(0).integers(0, count, (_RESAMPLINGS, count))
    return float(np.mean([_best_margin(volumes[sample]) for sample in samples]))


def _best_margin(volumes: NDArray[np.float64]) -> float:
    """Return the margin worth most, of equal ones the lowest, which finds most.

    Args:
        volumes: Calcium shared, predicted and true, shape (patients, margins, 3).
    """
    shared, predicted, true = volumes.sum(axis=0).T
    volume_f1 = (2.0 * shared + _NOTHING) / (predicted + true + _NOTHING)
    patients = np.moveaxis(volumes, 2, 0)
    dice = (2.0 * patients[0] + _TYPICAL_LESION_MM3) / (
        patients[1] + patients[2] + _TYPICAL_LESION_MM3
    )
    # Rounded, so that equal margins are equal whatever the order of the sum.
    worth = np.round(volume_f1 + dice.mean(axis=0), 9)
    return float(_MARGINS[np.argmax(worth)])


@torch.inference_mode()
def _candidates(
    network: MultiTaskNetwork,
    case: TrainingCase,
    batch_size: int,
    should_stop: Callable[[], bool],
) -> _Candidates:
    """Collect the candidates of all slices that are calcium or may be called so."""
    device = next(network.parameters()).device
    size = padded_size(case.content.size, network.config.multiple)
    odds, is_calcium = [], []
    first, last = case.content.planes
    for start in range(first, last, batch_size):
        if should_stop():
            raise StoppedValidationError
        items = [Item(case, index) for index in range(start, min(start + batch_size, last))]
        batch = make_batch(items, size, network.config).to(device)
        logits = network(batch.inputs)["lesion"]
        difference = logits[:, 1] - logits[:, 0]
        wanted = batch.targets["lesion"] > 0
        matters = (batch.weights["lesion"] > 0) & (wanted | (difference >= _MARGINS[0]))
        odds.append(difference[matters].float().cpu().numpy())
        is_calcium.append(wanted[matters].cpu().numpy())
    return _Candidates(
        np.concatenate(odds), np.concatenate(is_calcium), float(np.prod(case.spacing_mm))
    )
