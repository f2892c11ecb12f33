"""Which workers are there, by their last signs of life."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.store.tables import WorkerRow

ALIVE_WITHIN_S = 30.0
"""A worker gives a sign every 5 s; a busy machine may delay it."""


@dataclass(frozen=True)
class WorkerPresence:
    """A worker and its last sign of life, in seconds since the epoch."""

    id: str
    is_alive: bool
    seen_at: float


def known_workers(session: Session, *, now: float) -> Sequence[WorkerPresence]:
    """Return every worker that ever gave a sign of life, by name."""
    rows = session.scalars(select(WorkerRow).order_by(WorkerRow.id))
    # A sign from the future is of before the clock was set back; who lives gives a new one soon.
    return [
        WorkerPresence(row.id, abs(now - row.seen_at) < ALIVE_WITHIN_S, row.seen_at) for row in rows
    ]
