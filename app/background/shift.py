"""The units under way on a worker, and the end of its shift.

A worker that is asked to stop begins no unit any more, waits for those under way for so long,
and gives back what is not done: the next worker goes on after the last unit. Ending the
process does the rest, as it does for a worker that is killed.

Concurrency: the engine's threads take part in a shift, the main thread ends it. Whoever comes
after the end waits for ever: the engine would write down any answer that it got, and the
process ends in a moment. ``StopSignals`` holds no lock, because a signal may come while the
main thread has it.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from app import jobs
from app.background.presence import sign_of_leaving
from app.background.work import WorkContext
from app.store.tables import WorkerRow

logger = logging.getLogger(__name__)

_SIGN_EVERY_S: Final = 5.0
"""Pause between two signs of life while units end."""

_BY_SIGNAL: Final = 128
"""Shells add the number of the signal that ended a process to this."""


class StopSignals:
    """Knows whether somebody asked this process to stop; asked twice, it ends at once.

    Attributes:
        is_wanted: Whether SIGTERM or SIGINT has come.
        has_work: Whether there is anything to end; without, one signal ends the process.
    """

    def __init__(self, *, is_patient: bool = False) -> None:
        """Start with nobody having asked.

        Args:
            is_patient: Whether to ignore that it is asked again. A worker of a server is: both
                may be asked by who stops the service, and then the server asks as well.
        """
        self.is_wanted = False
        self.has_work = False
        self._is_patient = is_patient

    def install(self) -> None:
        """Take the signals of this process; called by its main thread."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if not self.has_work:
            os._exit(0)
        if self.is_wanted and not self._is_patient:
            os._exit(_BY_SIGNAL + number)
        self.is_wanted = True


class Shift:
    """Counts the units under way."""

    def __init__(self) -> None:
        """Start with none."""
        self._lock = threading.Condition()
        self._under_way = 0
        self._is_over = False

    @contextmanager
    def unit(self) -> Iterator[None]:
        """Let a unit run in the block; after the end of the shift it never begins."""
        with self._lock:
            self._lock.wait_for(lambda: not self._is_over)
            self._under_way += 1
        try:
            yield
        finally:
            with self._lock:
                self._under_way -= 1
                self._lock.notify_all()

    def end(self) -> None:
        """Let no unit begin any more."""
        with self._lock:
            self._is_over = True

    def is_idle_within(self, seconds: float) -> bool:
        """Wait until no unit is under way; False when some are after ``seconds``."""
        with self._lock:
            return self._lock.wait_for(lambda: self._under_way == 0, timeout=seconds)


def give_sign_of_life(context: WorkContext) -> None:
    """Note that this worker lives."""
    _note_seen(context, context.clock())


def end_shift(context: WorkContext, shift: Shift, longest_s: float) -> None:
    """End the shift of a worker that is asked to stop.

    Args:
        context: What the worker has.
        shift: Its units.
        longest_s: Longest wait for those under way.
    """
    shift.end()
    logger.info("worker %s was asked to stop", context.settings.worker_id)
    deadline = time.monotonic() + longest_s
    while not shift.is_idle_within(min(_SIGN_EVERY_S, max(deadline - time.monotonic(), 0.0))):
        if time.monotonic() >= deadline:
            break
        give_sign_of_life(context)
    with context.database.writing() as session:
        given_back = jobs.give_back(session, context.settings.worker_id)
    for job in given_back:
        logger.info("gave back %s job %s, to go on after its last unit", job.kind, job.id)
    # So that others take over at once what this worker gave back.
    _note_seen(context, sign_of_leaving(context.clock()))
    logger.info("worker %s has stopped", context.settings.worker_id)


def _note_seen(context: WorkContext, at: float) -> None:
    with context.database.writing() as session:
        row = session.get(WorkerRow, context.settings.worker_id)
        if row is None:
            row = WorkerRow(id=context.settings.worker_id, started_at=at)
            session.add(row)
        row.seen_at = at
