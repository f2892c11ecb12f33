"""What an epoch of a training brought, and that it cannot go on."""

from collections.abc import Mapping
from dataclasses import dataclass

from .validation import Validation


class DivergedError(ValueError):
    """The loss was not finite several times in a row."""


@dataclass(frozen=True)
class EpochReport:
    """What an epoch brought.

    Attributes:
        epoch: Number of epochs done, this one included unless it was canceled.
        is_canceled: Whether the epoch was stopped; nothing of it is kept then.
        training_loss: Mean weighted loss, None when no step succeeded.
        validation: Loss and metrics on the validation cases, None when not computed.
        task_weights: Factor of each task's loss at the end.
        skipped_steps: Steps left out because the loss was not finite or no task had a
            label.
        seconds: Duration.
    """

    epoch: int
    is_canceled: bool
    training_loss: float | None
    validation: Validation | None
    task_weights: Mapping[str, float]
    skipped_steps: int
    seconds: float
