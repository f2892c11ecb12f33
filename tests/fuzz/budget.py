"""How long to look for trouble: a fixed few inputs, or new ones until the time is over.

``make fuzz`` gives the seconds in ``FUZZ_SECONDS``; without it, as in ``make check``, every run
sees the same inputs.
"""

import os
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

T = TypeVar("T")

SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))

_FEW = 25
"""Inputs of a run that has no time."""

_MANY = 500
"""Inputs between two looks at the clock."""

_SEED = 20260811


def rounds(share: float) -> Iterator[int]:
    """Yield a seed for each round: one without time, else new ones until the share is used up."""
    number, end = _SEED, time.monotonic() + share * SECONDS
    yield number
    while time.monotonic() < end:
        number += 1
        yield number


def fuzz(body: Callable[[T], None], inputs: SearchStrategy[T], share: float) -> None:
    """Call ``body`` with input after input; the first that fails is made small and told."""
    for number in rounds(share):
        run = settings(
            max_examples=_MANY if SECONDS else _FEW,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )
        run(seed(number)(given(inputs)(lambda value: body(value))))()
