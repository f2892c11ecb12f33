"""Statistics of stochastic passes, added up sample by sample."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class BinaryStatistics:
    """Collect the foreground probabilities that T samples give to N voxels.

    Only two sums per voxel are held, never the samples.
    """

    def __init__(self, voxels: int) -> None:
        """Start without a sample."""
        self._count = 0
        self._sum = torch.zeros(voxels, dtype=torch.float64)
        self._entropy_sum = torch.zeros(voxels, dtype=torch.float64)

    def add(self, probs: Tensor) -> None:
        """Add samples, shape (T, N), foreground probabilities."""
        values = probs.detach().cpu().double()
        self._count += values.shape[0]
        self._sum += values.sum(dim=0)
        self._entropy_sum += binary_entropy(values).sum(dim=0)

    def entropy(self) -> NDArray[np.float32]:
        """Return the entropy of the mean in nats, shape (N,), 0 to log 2; 0 without samples."""
        return _as_float32(binary_entropy(self._sum / max(self._count, 1)))

    def mutual_information(self) -> NDArray[np.float32]:
        """Return how much the samples disagree (BALD) in nats, shape (N,).

        The plain estimate is low by the factor (T - 1) / T, which is made up for. Never
        below 0 nor above the entropy; 0 with fewer than two samples.
        """
        if self._count < 2:
            return np.zeros(self._sum.shape[0], np.float32)
        entropy = binary_entropy(self._sum / self._count)
        gain = (entropy - self._entropy_sum / self._count) * (self._count / (self._count - 1))
        # Rounding can leave the difference of two equal entropies slightly below zero.
        return _as_float32(torch.minimum(gain.clamp(min=0.0), entropy))


def binary_entropy(probs: Tensor) -> Tensor:
    """Compute the entropy of yes-no distributions in nats, 0 to log 2."""
    entropy = -(torch.xlogy(probs, probs) + torch.xlogy(1.0 - probs, 1.0 - probs))
    return entropy.clamp(0.0, math.log(2.0))


def class_entropy(probs: Tensor) -> Tensor:
    """Compute the entropy over the classes, shape (N, C, ...) to (N, ...), in nats."""
    return -torch.xlogy(probs, probs).sum(dim=1)


def _as_float32(values: Tensor) -> NDArray[np.float32]:
    result: NDArray[np.float32] = values.float().numpy()
    return result
