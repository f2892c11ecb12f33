"""Which workers are there, by their last signs of life."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.store.tables import WorkerRow

ALIVE_WITHIN_S = 30.0
"""A worker gives a sign every 5 s; a busy machine may delay it."""

DEAD_AFTER_S: Final = 60.0
"""A worker that gives no new sign for so long is dead; others take over its jobs."""


@dataclass(frozen=True)
class WorkerPresence:
    """A worker and its last sign of life, in seconds since the epoch."""

    id: str
    is_alive: bool
    seen_at: float


class DeathWatch:
    """Sees which workers have died: their signs of life do not change any more.

    Whether they change is judged by a clock that is never set. Compared with the time of day,
    every worker would be dead for a moment when that is set forward, and its jobs run twice.
    """

    def __init__(self, *, steady_clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with nobody known; whoever is met is given time for a sign."""
        self._steady_clock = steady_clock
        self._met: dict[str, tuple[float, float]] = {}

    def dead(self, session: Session) -> list[str]:
        """Return the workers that gave no new sign for a minute, or have said that they left."""
        now, found = self._steady_clock(), list[str]()
        for name, sign in session.execute(select(WorkerRow.id, WorkerRow.seen_at)):
            last_sign, met_at = self._met.get(name, (sign, now))
            met_at = met_at if last_sign == sign else now
            self._met[name] = (sign, met_at)
            if has_left(sign) or now - met_at >= DEAD_AFTER_S:
                found.append(name)
        return found


def sign_of_leaving(now: float) -> float:
    """Return the sign of life that a worker leaves when it ends in order."""
    return -now


def has_left(sign: float) -> bool:
    """Tell whether a sign of life says that its worker has ended."""
    return sign <= 0.0


def known_workers(session: Session, *, now: float) -> Sequence[WorkerPresence]:
    """Return every worker that ever gave a sign of life, by name."""
    rows = session.scalars(select(WorkerRow).order_by(WorkerRow.id))
    # A sign from the future is of before the clock was set back; who lives gives a new one soon.
    return [
        WorkerPresence(row.id, abs(now - row.seen_at) < ALIVE_WITHIN_S, abs(row.seen_at))
        for row in rows
    ]
