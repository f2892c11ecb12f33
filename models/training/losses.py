"""Losses of one task, each a mean over the voxels that count."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from ..dropout import Masks
from ..network import MultiTaskNetwork
from ..tasks import TaskSpec
from .dataset import Batch

_DICE_SMOOTHING = 1.0
"""Voxels added above and below the Dice fraction, so that an absent class is defined."""


def cross_entropy_dice(
    logits: Tensor, target: Tensor, weight: Tensor, foreground_weight: float = 1.0
) -> Tensor:
    """Add cross-entropy and soft Dice over the voxels with weight.

    Dice is taken over the whole batch, per foreground class, then averaged: the lesions of
    a single slice are too few for a stable fraction.

    Args:
        logits: Shape (N, C, Y, X).
        target: Classes, shape (N, Y, X), int64.
        weight: 1 where a voxel counts and 0 where not, shape (N, Y, X), float32.
        foreground_weight: Weight of foreground voxels in the mean of the cross-entropy.

    Returns:
        A scalar from 0 upwards; 0 when no voxel counts.
    """
    log_probs = functional.log_softmax(logits, dim=1)
    cross_entropy = functional.nll_loss(log_probs, target, reduction="none")
    share = weight * torch.where(target > 0, foreground_weight, 1.0)
    mean = (cross_entropy * share).sum() / share.sum().clamp(min=1.0)
    return mean + _soft_dice_loss(log_probs.exp(), target, weight)


def _soft_dice_loss(probs: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    losses = []
    for value in range(1, probs.shape[1]):
        truth = (target == value).to(probs) * weight
        predicted = probs[:, value] * weight
        overlap = 2.0 * (predicted * truth).sum() + _DICE_SMOOTHING
        losses.append(1.0 - overlap / (predicted.sum() + truth.sum() + _DICE_SMOOTHING))
    return torch.stack(losses).mean()


def task_losses(
    tasks: tuple[TaskSpec, ...],
    logits: Mapping[str, Tensor],
    targets: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Compute the loss of every task that has a label in the batch.

    Args:
        tasks: Tasks of the network.
        logits: Output of the network by task.
        targets: Classes by task, shape (N, Y, X), int64.
        weights: Voxels that count, by task, shape (N, Y, X): 0 throughout for an item whose
            label lacks the task, and outside candidates for a restricted task.

    Returns:
        Loss by task name. A task without any voxel that counts is left out, so that it
        adds neither a loss, nor a gradient, nor a pull on its weight.
    """
    return {
        task.name: cross_entropy_dice(
            logits[task.name], targets[task.name], weights[task.name], task.foreground_weight
        )
        for task in tasks
        if bool(weights[task.name].any())
    }


def coarse_loss(
    task: TaskSpec, coarse_logits: list[Tensor], target: Tensor, weight: Tensor
) -> Tensor:
    """Average a task's loss over coarser resolutions.

    Args:
        task: Task of the logits.
        coarse_logits: Shape (N, C, Y / f, X / f) for any whole factors f, at least one.
        target: Classes at full resolution, shape (N, Y, X), int64.
        weight: Voxels that count, shape (N, Y, X).
    """
    losses = []
    for logits in coarse_logits:
        step = target.shape[-1] // logits.shape[-1]
        middle = slice(step // 2, None, step)
        losses.append(
            cross_entropy_dice(
                logits, target[:, middle, middle], weight[:, middle, middle], task.foreground_weight
            )
        )
    return torch.stack(losses).mean()


def network_losses(
    network: MultiTaskNetwork, batch: Batch, masks: Masks, names: tuple[str, ...]
) -> dict[str, Tensor]:
    """Run a network on a batch and compute the losses of some tasks, coarse stages included.

    Args:
        network: Network in the mode it is to be run in.
        batch: Slices with their labels.
        masks: Dropout masks.
        names: Tasks whose losses are wanted.

    Returns:
        Loss by task name; a task without a label in the batch is left out.
    """
    tasks = tuple(network.config.task(name) for name in names)
    state = network.decode(network.encode(batch.inputs), masks=masks)
    losses = task_losses(tasks, network.logits(state), batch.targets, batch.weights)
    for task in tasks:
        # Candidates are single voxels, which coarse stages cannot tell apart.
        if task.name not in losses or task.is_restricted_to_candidates:
            continue
        if coarse := network.coarse_logits(state, task.name):
            target, weight = batch.targets[task.name], batch.weights[task.name]
            more = coarse_loss(task, coarse, target, weight)
            losses[task.name] = (losses[task.name] + more) / 2.0
    return losses
