"""Loss and metrics on labeled volumes that a training does not see."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..inputs import padded_size
from ..metrics import Counts, count_classes, mean_dice
from ..network import MultiTaskNetwork, NetworkConfig
from .dataset import Batch, Item, TrainingCase, make_batch, telling_items
from .losses import task_losses
from .portions import run_in_portions


@dataclass(frozen=True)
class Validation:
    """What a network is worth on the validation cases.

    Attributes:
        loss: Mean over batches of the sum of the losses of the tasks that are trained, each
            with weight one.
        metrics: Metric by task, 0 to 1; a task without any label is left out. For the
            lesion task this is the volume F1 over all cases, for the others the mean Dice
            over classes.
    """

    loss: float
    metrics: Mapping[str, float]


class StoppedValidationError(Exception):
    """An epoch or a validation was stopped between two batches. Nothing went wrong."""


@torch.inference_mode()
def validate(
    network: MultiTaskNetwork,
    cases: Sequence[TrainingCase],
    batch_size: int,
    device: torch.device,
    trained: Collection[str],
    should_stop: Callable[[], bool] = lambda: False,
    *,
    at_once: int | None = None,
) -> Validation | None:
    """Judge a network in evaluation mode on the telling slices of the cases.

    Args:
        network: Network to judge.
        cases: Cases that it has not seen.
        batch_size: Slices whose losses are computed together.
        device: Where the network lies.
        trained: Names of the tasks whose losses count.
        should_stop: Asked before every batch.
        at_once: Slices the network runs on at once, at most; fewer change no value.

    Returns:
        None when the cases have no slice with a label of these tasks.

    Raises:
        StoppedValidationError: If ``should_stop`` said yes.
    """
    network.eval()
    config = network.config
    judged = tuple(task for task in config.tasks if task.name in trained)
    losses: list[float] = []
    counts = {task.name: [Counts()] * (task.classes - 1) for task in config.tasks}
    for items in _batches(telling_items(cases), batch_size):
        if should_stop():
            raise StoppedValidationError
        batch = make_batch(items, _size(items, config), config).to(device)
        logits = run_in_portions(network, batch.inputs, at_once or batch_size)
        task_values = task_losses(judged, logits, batch.targets, batch.weights)
        if task_values:
            losses.append(float(sum(float(value) for value in task_values.values())))
        for name in counts:
            counts[name] = _added(counts[name], _count(batch, logits[name], name))
    if not losses:
        return None
    means = {name: mean_dice(values) for name, values in counts.items()}
    metrics = {name: value for name, value in means.items() if value is not None}
    return Validation(sum(losses) / len(losses), metrics)


def _batches(items: list[Item], size: int) -> list[list[Item]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _size(items: list[Item], config: NetworkConfig) -> tuple[int, int]:
    heights, widths = zip(*(item.case.content.size for item in items), strict=True)
    return padded_size((max(heights), max(widths)), config.multiple)


def _count(batch: Batch, logits: Tensor, name: str) -> list[Counts]:
    counts = batch.weights[name].cpu().numpy() > 0
    predicted = np.where(counts, logits.argmax(dim=1).cpu().numpy(), 0)
    wanted = np.where(counts, batch.targets[name].cpu().numpy(), 0)
    return count_classes(predicted, wanted, logits.shape[1])


def _added(first: list[Counts], second: list[Counts]) -> list[Counts]:
    return [one + other for one, other in zip(first, second, strict=True)]
