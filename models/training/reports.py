"""What an epoch of a training brought, and that it cannot go on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .validation import Validation

_BAD_STEPS_LIMIT = 5
"""Steps in a row with a loss that is not finite before the training fails."""


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
        shortage: What was done for lack of memory, in a few words; empty where there is enough.
    """

    epoch: int
    is_canceled: bool
    training_loss: float | None
    validation: Validation | None
    task_weights: Mapping[str, float]
    skipped_steps: int
    seconds: float
    shortage: str = ""


def check_convergence(losses: Sequence[float | None], epoch: int) -> None:
    """Check that the last steps of an epoch taught something; None is a step left out.

    Raises:
        DivergedError: If five in a row were left out.
    """
    recent = losses[-_BAD_STEPS_LIMIT:]
    if len(recent) == _BAD_STEPS_LIMIT and all(loss is None for loss in recent):
        raise DivergedError(
            f"no usable loss in {_BAD_STEPS_LIMIT} steps in a row of epoch {epoch}: "
            "the loss was not finite or no voxel had a label"
        )
