"""What was asked and how it was answered: counts, times, errors, and who held which image."""

import itertools
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Times:
    """How long requests took, in milliseconds."""

    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


@dataclass(frozen=True)
class Hold:
    """That an image lay with an annotator, from the answer on until it was given back.

    Attributes:
        image: The image.
        annotator: Who had it.
        began: When the answer had come.
        ended: When the label, or the wish for another image, was sent.
    """

    image: str
    annotator: str
    began: float
    ended: float


@dataclass
class Records:
    """Everything that clients saw.

    Attributes:
        seconds: Duration of each request by its kind.
        errors: Requests that were not answered as they have to be, in words.
        holds: Who had which image.
        kept: Hash of each label that was acknowledged, by image and annotator.
        dry: How often nothing was left to label.
    """

    seconds: dict[str, list[float]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    holds: list[Hold] = field(default_factory=list)
    kept: dict[tuple[str, str], str] = field(default_factory=dict)
    dry: int = 0

    @property
    def count(self) -> int:
        """Number of requests."""
        return sum(len(seconds) for seconds in self.seconds.values())

    def add(self, kind: str, began: float, problem: str) -> None:
        """Add a request that has just been answered; ``problem`` is empty if it went well."""
        self.seconds.setdefault(kind, []).append(time.monotonic() - began)
        if problem:
            self.errors.append(f"{kind}: {problem}")

    def errors_by_kind(self) -> dict[str, int]:
        """Count the errors of each kind."""
        return Counter(error.partition(":")[0] for error in self.errors)


def times(seconds: Iterable[float]) -> Times:
    """Summarise durations; the percentiles are ones that were measured."""
    ms = 1000 * np.asarray(list(seconds), np.float64)
    p50, p95, p99 = (float(one) for one in np.percentile(ms, (50, 95, 99), method="higher"))
    return Times(ms.size, p50, p95, p99, float(ms.max()))


def held_twice(holds: Iterable[Hold]) -> list[tuple[Hold, Hold]]:
    """Return the images that lay with two annotators at one moment, by what these were told."""
    found = []
    in_order = sorted(holds, key=lambda hold: (hold.image, hold.began))
    for _, of_image in itertools.groupby(in_order, key=lambda hold: hold.image):
        last: Hold | None = None
        for hold in of_image:
            if last is not None and hold.began < last.ended:
                found.append((last, hold))
            if last is None or hold.ended > last.ended:
                last = hold
    return found
