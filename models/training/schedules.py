"""Which parts of a network a batch trains: all, or one task's at a time.

The three ways of fine-tuning several tasks on a shared encoder of UMS-Rep (Zamzmi,
Rajaraman, Antani 2021): jointly; alternating, some batches for one task, then some for the
next; independently, each head for itself on an encoder that stays as it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from ..network import MultiTaskNetwork
from .dataset import SliceSampler, TrainingCase

Schedule = Literal["joint", "alternating", "independent"]
"""All tasks in every batch, one task a turn with the encoder, or one a turn without it."""


@dataclass(frozen=True)
class Turn:
    """What one batch trains.

    Attributes:
        tasks: Tasks whose heads are trained, each by its own loss.
        trains_encoder: Whether the shared encoder is trained as well.
    """

    tasks: tuple[str, ...]
    trains_encoder: bool


def plan_turns(
    schedule: Schedule, batches: Mapping[str, int], tasks: Sequence[str]
) -> tuple[Turn, ...]:
    """List the turns of one round; rounds are repeated until the training ends.

    Args:
        schedule: Kind of schedule.
        batches: Batches in a row by task when tasks take turns; 1 for tasks not named, and
            a task with 0 is not trained.
        tasks: Tasks of the network, in the order of their turns.

    Raises:
        ValueError: If a task is not known, a number negative or nothing is trained.
    """
    if unknown := set(batches) - set(tasks):
        raise ValueError(f"turns are given to {sorted(unknown)}, known tasks are {list(tasks)}")
    if any(count < 0 for count in batches.values()):
        raise ValueError(f"turns must not be negative, got {dict(batches)}")
    if schedule == "joint":
        return (Turn(tuple(tasks), trains_encoder=True),)
    has_encoder = schedule == "alternating"
    turns = tuple(Turn((task,), has_encoder) for task in tasks for _ in range(batches.get(task, 1)))
    if not turns:
        raise ValueError("no task has a turn")
    return turns


def take_turn(network: MultiTaskNetwork, turn: Turn) -> None:
    """Let a turn's parts learn; freeze all others, statistics of normalisation included.

    A frozen part still passes gradients on, to the encoder for instance.
    """
    parts: list[tuple[nn.Module, bool]] = [(network.encoder, turn.trains_encoder)]
    parts += [(head, name in turn.tasks) for name, head in network.heads.items()]
    for part, is_trained in parts:
        part.train(is_trained)
        part.requires_grad_(is_trained)


class TurnSampler:
    """Draw the slices of each turn from the cases that have something to say about it."""

    def __init__(
        self, cases: Sequence[TrainingCase], turns: Sequence[Turn], shares: Sequence[float]
    ) -> None:
        """Sort the slices of the cases into kinds, for every turn.

        Turns of a task that no case has a label of are left out.

        Raises:
            ValueError: If no turn is left.
        """
        fitting = {turn: _fitting(cases, turn) for turn in turns}
        self._turns = tuple(turn for turn in turns if fitting[turn])
        if not self._turns:
            raise ValueError("no case has a label of a task that is to be trained")
        self._samplers = {
            turn: SliceSampler(fitting[turn], shares) for turn in dict.fromkeys(self._turns)
        }
        self._early_samplers = {
            turn: SliceSampler(
                [*fitting[turn], *(case for case in fitting[turn] if case.is_new)], shares
            )
            for turn in self._samplers
        }

    @property
    def tasks(self) -> frozenset[str]:
        """Names of the tasks that are trained."""
        return frozenset(name for turn in self._turns for name in turn.tasks)

    def turn(self, step: int) -> Turn:
        """Return whose turn it is in a step, counted from 0."""
        return self._turns[step % len(self._turns)]

    def sampler(self, turn: Turn, *, favours_new: bool) -> SliceSampler:
        """Return where a turn's slices come from; new cases can come twice as often."""
        return (self._early_samplers if favours_new else self._samplers)[turn]


def _fitting(cases: Sequence[TrainingCase], turn: Turn) -> list[TrainingCase]:
    """Select the cases with a label of the task whose turn it is; all for several tasks."""
    if len(turn.tasks) > 1:
        return list(cases)
    return [case for case in cases if case.label(turn.tasks[0]) is not None]
