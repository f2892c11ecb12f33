"""What a measurement yields, and how it is printed."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np

_MS: Final = 1000.0


@dataclass(frozen=True)
class Figure:
    """One measured number.

    Attributes:
        name: What was measured.
        value: The number.
        unit: Its unit; ``x`` for a ratio, empty for a number without one.
        note: How, in a few words.
    """

    name: str
    value: float
    unit: str
    note: str = ""

    @property
    def text(self) -> str:
        """The number with three digits and its unit."""
        digits = max(0, 2 - int(np.floor(np.log10(abs(self.value))))) if self.value else 0
        number = f"{self.value:.{min(digits, 3)}f}"
        return f"{number} {self.unit}".rstrip()


@dataclass(frozen=True)
class Section:
    """The figures of one measurement.

    Attributes:
        name: Word by which the section is chosen.
        title: Heading.
        setting: What was measured on, in a sentence.
        figures: The numbers.
    """

    name: str
    title: str
    setting: str
    figures: tuple[Figure, ...]


def time_calls(call: Callable[[], object], count: int) -> list[float]:
    """Call ``count`` times and return the seconds of each call."""
    seconds = []
    for _ in range(count):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return seconds


def latency(name: str, seconds: Sequence[float], note: str = "") -> tuple[Figure, Figure]:
    """Return median and 95th percentile of some calls, in milliseconds."""
    told = f"{len(seconds)} calls" + (f", {note}" if note else "")
    return (
        Figure(f"{name}, median", float(np.median(seconds)) * _MS, "ms", told),
        Figure(f"{name}, 95th percentile", float(np.percentile(seconds, 95)) * _MS, "ms", told),
    )


def as_text(sections: Sequence[Section]) -> str:
    """Return the sections for a terminal."""
    lines: list[str] = []
    for section in sections:
        lines += ["", section.title, f"  {section.setting}"]
        width = max(len(figure.name) for figure in section.figures)
        lines += [
            f"  {figure.name:<{width}}  {figure.text:>10}  {figure.note}".rstrip()
            for figure in section.figures
        ]
    return "\n".join(lines[1:])


def as_json(sections: Sequence[Section], machine: dict[str, str]) -> dict[str, object]:
    """Return the sections for programs."""
    return {"machine": machine, "sections": [asdict(section) for section in sections]}
