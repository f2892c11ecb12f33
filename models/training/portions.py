"""How many slices of a batch are run at once: all, or fewer where memory does not allow it.

The gradients of a batch's portions are added up before the weights are changed, so that a step
still learns from as many slices. It is not the same to the last digit: normalisation sees one
portion at a time, and each portion has a Dice loss of its own.
"""

import logging
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from ..dropout import Masks
from ..memory import MemoryShortageError, Shortage, attempt
from ..network import MultiTaskNetwork
from .dataset import Batch
from .losses import network_losses

logger = logging.getLogger(__name__)

_Result = TypeVar("_Result")
_Step = TypeVar("_Step")


class Portion:
    """How many slices are run at once, and where; less and less as memory runs out.

    Attributes:
        slices: Slices at once.
        device: Where they are run.
    """

    def __init__(self, batch_size: int, device: str) -> None:
        """Begin with whole batches on the device that was asked for."""
        self._batch_size, self._wanted = batch_size, torch.device(device)
        self.slices, self.device = batch_size, self._wanted

    @property
    def shortage(self) -> str:
        """What is done for lack of memory, in a few words; nothing where there is enough."""
        parts = []
        if self.device != self._wanted:
            parts.append("on the processor")
        if self.slices < self._batch_size:
            parts.append(f"{self.slices} slice{'s' * (self.slices != 1)} at a time")
        return f"{' '.join(parts)} for lack of memory" if parts else ""

    def take_up(self, slices: int) -> None:
        """Go on with what was found to fit before a kill."""
        if self.device == self._wanted:
            self.slices = min(self.slices, max(slices, 1))

    def shrink(self, shortage: Shortage) -> None:
        """Try half as many slices from now on, and after one slice the processor.

        Raises:
            MemoryShortageError: If the processor has no memory for a single slice either.
        """
        if self.slices > 1:
            self.slices //= 2
        elif self.device.type != "cpu":
            self.device, self.slices = torch.device("cpu"), self._batch_size
        else:
            raise MemoryShortageError(f"no memory to train on one slice: {shortage.problem}")
        logger.warning("training goes on %s: %s", self.shortage, shortage.problem)

    def fit(self, act: Callable[[], _Result], before_again: Callable[[], None]) -> _Result:
        """Do something by portions that fit into memory.

        Args:
            act: What to do; reads ``slices`` and ``device``.
            before_again: Called after each failure, to undo what was done by halves.

        Raises:
            MemoryShortageError: If no portion fits.
        """
        while isinstance(result := attempt(act), Shortage):
            self.shrink(result)
            before_again()
        return result

    def fit_steps(
        self, begin: Callable[[], Generator[_Step, None, _Result]]
    ) -> Generator[_Step, None, _Result]:
        """Run a generator by portions that fit into memory; after a failure from its beginning."""
        steps = begin()
        while True:
            step = attempt(partial(_next, steps))
            if isinstance(step, Shortage):
                self.shrink(step)
                steps = begin()
            elif isinstance(step, _End):
                return step.result
            else:
                yield step


@dataclass(frozen=True)
class _End(Generic[_Result]):
    result: _Result


def _next(steps: Generator[_Step, None, _Result]) -> _Step | _End[_Result]:
    try:
        return next(steps)
    except StopIteration as end:
        return _End(end.value)


def add_gradients(
    network: MultiTaskNetwork,
    weighting: nn.Module,
    batch: Batch,
    masks: Masks,
    tasks: tuple[str, ...],
    portion: Portion,
) -> Tensor | None:
    """Add the gradients of a batch to the parameters, one portion after the other.

    Args:
        network: Network in the mode it is to be trained in.
        weighting: Makes one loss of those of the tasks.
        batch: Slices with their labels, anywhere.
        masks: Dropout masks, one for each slice.
        tasks: Names of the tasks that are trained.
        portion: How many slices at once.

    Returns:
        The loss, each portion by its share of the slices; None when no slice has a label.
    """
    total: Tensor | None = None
    count = len(batch)
    for start in range(0, count, portion.slices):
        rows = slice(start, min(start + portion.slices, count))
        part = batch.part(rows).to(portion.device)
        own = {name: mask[rows] for name, mask in masks.items()}
        losses = network_losses(network, part, own, tasks)
        if losses:
            loss: Tensor = weighting(losses) * (len(part) / count)
            loss.backward()  # type: ignore[no-untyped-call]  # torch's own method has no types
            total = loss.detach() if total is None else total + loss.detach()
    return total


def run_in_portions(network: MultiTaskNetwork, inputs: Tensor, slices: int) -> dict[str, Tensor]:
    """Run a network in evaluation mode on some slices at once; the logits of all by task.

    Args:
        network: The network, where the inputs are.
        inputs: Shape (N, C, Y, X).
        slices: How many at once.
    """
    found: dict[str, list[Tensor]] = {}
    for part in torch.split(inputs, slices):
        for name, logits in network(part).items():
            found.setdefault(name, []).append(logits)
    return {name: torch.cat(parts) for name, parts in found.items()}
