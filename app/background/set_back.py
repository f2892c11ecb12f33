"""A clock that was set back: times that lie ahead are brought down to now.

Otherwise whatever waits for a time would wait until the clock has caught up: the next look at a
PACS, the repetition of a scan, the storing of a label, the end of a lease.

Concurrency: every worker looks; doing it twice changes nothing.
"""

import logging
import time
from collections.abc import Callable
from typing import Final

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.background.work import WorkContext
from app.pacs.exports import LONGEST_PAUSE_S
from app.sampling.leases import SECONDS_PER_MINUTE
from app.settings import Settings
from app.store.tables import ExportRow, JobRow, LeaseRow, SessionRow

logger = logging.getLogger(__name__)

_AHEAD_S: Final = 60.0
"""Clocks of several machines differ; what is ahead by less is soon past."""

_STEP_S: Final = 10.0
"""A clock that is corrected bit by bit never goes back by so much between two looks."""

_TIE_S: Final = 1e-5
"""Jobs keep their order; a float of today's time resolves 2e-7 s."""


class SetBackWatch:
    """Notices that the clock was set back, by one that never is."""

    def __init__(
        self, context: WorkContext, *, steady_clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin; the clock may have been set back while no worker ran."""
        self._context = context
        self._steady_clock = steady_clock
        self._lead_s: float | None = None

    def look(self) -> bool:
        """Bring times down if the clock was set back since the last look; tells whether it was."""
        lead_s = self._context.clock() - self._steady_clock()
        was_set_back = self._lead_s is None or lead_s < self._lead_s - _STEP_S
        self._lead_s = lead_s
        if not was_set_back:
            return False
        with self._context.database.writing() as session:
            count = bring_down(session, self._context.settings, now=self._context.clock())
        if count:
            logger.warning("the clock was set back; %d times that lay ahead are now", count)
        return True


def bring_down(session: Session, settings: Settings, *, now: float) -> int:
    """Bring the times down that something waits for; returns how many.

    Labels, images and the trail of changes keep the times that they were given.
    """
    count = _bring_down_jobs(session, now)
    longest_lease_s = settings.lease_minutes * SECONDS_PER_MINUTE
    leases = update(LeaseRow).where(
        LeaseRow.released_at.is_(None), LeaseRow.expires_at > now + longest_lease_s + _AHEAD_S
    )
    exports = update(ExportRow).where(ExportRow.next_at > now + LONGEST_PAUSE_S + _AHEAD_S)
    sessions = update(SessionRow).where(SessionRow.last_access_at > now + _AHEAD_S)
    for change in (
        leases.values(expires_at=now + longest_lease_s),
        exports.values(next_at=now),
        sessions.values(last_access_at=now),
    ):
        count += session.connection().execute(change).rowcount
    return count


def _bring_down_jobs(session: Session, now: float) -> int:
    ahead = select(JobRow).where(JobRow.created_at > now + _AHEAD_S).order_by(JobRow.created_at)
    jobs = list(session.scalars(ahead))
    for place, job in enumerate(jobs):
        job.created_at = now + place * _TIE_S
    for name in ("started_at", "ended_at"):
        column = getattr(JobRow, name)
        late = update(JobRow).where(column > now + _AHEAD_S).values({name: now})
        session.execute(late.execution_options(synchronize_session=False))
    session.flush()
    return len(jobs)
