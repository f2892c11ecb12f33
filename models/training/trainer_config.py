"""How a network is trained: numbers only."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from .dataset import SamplingConfig
from .schedules import Schedule
from .weighting import Weighting

Start = Literal["fresh", "shrink_perturb", "warm", "transfer"]
"""Where a training begins: at fresh weights, near those of the version before, at them, or at
those of another network where it has the same parts."""

_FINAL_RATE_FRACTION = 0.01
"""Learning rate at the end, as a fraction of the peak."""

_NEW_CASES_FRACTION = 1 / 3
"""First part of a training, in which new cases are drawn more often."""


@dataclass(frozen=True)
class TrainerConfig:
    """How a network is trained.

    Attributes:
        epochs: Number of epochs.
        steps_per_epoch: Batches of an epoch.
        batch_size: Slices of a batch.
        peak_rate: Highest learning rate.
        warm_up: Fraction of the training in which the rate rises to its peak; it then
            falls along a cosine.
        weight_decay: Decoupled weight decay of all weights but biases, normalisation and
            task weights.
        average_decay: Decay per step of the moving average of the weights.
        weighting: How the losses of the tasks are added up.
        task_weights: Weight by task for fixed weighting, tasks not named weigh 1.
        patience: Epochs without a better validation loss before the training ends early,
            counted from the end of the warm-up at the earliest; None never ends it early.
        validate_every: Epochs between validations; the last epoch is always validated.
        schedule: Which tasks a batch trains, see ``schedules``.
        turns: Batches in a row by task where tasks take turns; 1 for tasks not named, 0 for
            one that is not trained.
        sampling: Which slices a batch is made of and how they are changed.
        start: What is done with the weights of the version before. ``fresh`` leaves them
            aside. ``shrink_perturb``, after Ash & Adams 2020
            (https://arxiv.org/abs/1910.08475), keeps ``shrink`` of them and adds ``perturb``
            of a fresh initialisation: trained on as they are, ``warm``, networks fit old and
            new cases as well but unseen ones worse. ``transfer`` takes over the encoder and
            the heads that a network of other tasks has. Without weights before, every start
            is fresh.
        shrink: Factor of the weights before.
        perturb: Factor of the fresh weights that are added.
        seed: Seed of everything that is drawn.
        device: PyTorch device.
    """

    epochs: int = 20
    steps_per_epoch: int = 30
    batch_size: int = 16
    peak_rate: float = 1e-2
    warm_up: float = 0.1
    weight_decay: float = 0.01
    average_decay: float = 0.99
    weighting: Weighting = "homoscedastic"
    task_weights: Mapping[str, float] = field(default_factory=dict)
    patience: int | None = None
    validate_every: int = 1
    schedule: Schedule = "joint"
    turns: Mapping[str, int] = field(default_factory=dict)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    start: Start = "fresh"
    shrink: float = 0.5
    perturb: float = 0.1
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Refuse a start that would spoil the weights before."""
        if not 0.0 <= self.shrink <= 1.0 or self.perturb < 0.0:
            raise ValueError(
                f"shrink must be from 0 to 1 and perturb not negative, got {self.shrink} and"
                f" {self.perturb}"
            )
        if self.schedule == "independent" and self.start not in ("warm", "transfer"):
            raise ValueError(
                f"an encoder that is not trained must start warm or by transfer, got {self.start}"
            )

    @property
    def renews_statistics(self) -> bool:
        """Whether the running statistics of the weights before are computed anew.

        An encoder that is not trained stays as it is, its statistics included.
        """
        return self.start != "transfer" and self.schedule != "independent"

    @property
    def total_steps(self) -> int:
        """Number of batches of the whole training."""
        return self.epochs * self.steps_per_epoch

    @property
    def warm_up_steps(self) -> int:
        """Number of batches until the learning rate has reached its peak."""
        return max(int(self.warm_up * self.total_steps), 1)

    def rate(self, step: int) -> float:
        """Return the learning rate of step ``step``, counted from 0."""
        warm_up_steps = self.warm_up_steps
        if step < warm_up_steps:
            return self.peak_rate * (step + 1) / warm_up_steps
        progress = (step - warm_up_steps) / max(self.total_steps - warm_up_steps, 1)
        falling = 0.5 * (1.0 + math.cos(math.pi * progress))
        return self.peak_rate * (_FINAL_RATE_FRACTION + (1.0 - _FINAL_RATE_FRACTION) * falling)

    def favours_new_cases(self, step: int) -> bool:
        """Tell whether new cases are drawn more often in step ``step``."""
        return step < self.total_steps * _NEW_CASES_FRACTION
