"""A clock that tests set."""

from dataclasses import dataclass


@dataclass
class Clock:
    """A time in seconds that stands still until a test changes it."""

    now: float = 1_700_000_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now
