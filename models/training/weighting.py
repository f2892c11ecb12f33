"""How the losses of several tasks become one."""

from collections.abc import Mapping
from typing import Final, Literal

import torch
from torch import Tensor, nn

Weighting = Literal["fixed", "homoscedastic"]
"""Fixed weights, or weights learned as homoscedastic uncertainty."""

_LOG_VARIANCE_BOUNDS: Final = (-5.0, 5.0)
"""Range of s: a task weighs between exp(-5) and exp(5)."""


class FixedWeighting(nn.Module):
    """Add the losses with constant weights."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        """Remember the weight of every task."""
        super().__init__()
        self.weights = dict(weights)

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum of the losses present, at least one."""
        return torch.stack([self.weights[name] * loss for name, loss in losses.items()]).sum()

    def task_weights(self) -> dict[str, float]:
        """Return the factor of each task's loss."""
        return dict(self.weights)


class HomoscedasticWeighting(nn.Module):
    """Learn the weight of each task from its own uncertainty.

    The sum over tasks of ``exp(-s) * loss + s / 2`` with ``s = log(sigma**2)``, the form
    for classification losses. A task without a label in the batch is left out entirely:
    with its ``s / 2`` alone, s would drift to minus infinity. The parameters must not decay
    (see ``trainer``): decay would pull every weight to one.

    References:
        Kendall, Gal, Cipolla 2018, https://arxiv.org/abs/1705.07115.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        """Start every task at weight one."""
        super().__init__()
        self.log_variances = nn.ParameterDict(
            {name: nn.Parameter(torch.zeros(())) for name in names}
        )

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum of the losses present, at least one."""
        terms = []
        for name, loss in losses.items():
            s = self.log_variances[name]
            terms.append(torch.exp(-s) * loss + 0.5 * s)
        return torch.stack(terms).sum()

    @torch.no_grad()
    def clamp(self) -> None:
        """Bring every s back into its bounds; call it after each step."""
        for s in self.log_variances.values():
            s.clamp_(*_LOG_VARIANCE_BOUNDS)

    def task_weights(self) -> dict[str, float]:
        """Return the factor of each task's loss."""
        return {name: float(torch.exp(-s.detach())) for name, s in self.log_variances.items()}


def make_weighting(
    kind: Weighting, weights: Mapping[str, float]
) -> FixedWeighting | HomoscedasticWeighting:
    """Build the weighting of the tasks named in ``weights``."""
    if kind == "homoscedastic":
        return HomoscedasticWeighting(tuple(weights))
    return FixedWeighting(weights)
