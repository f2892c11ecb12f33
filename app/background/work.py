"""What every kind of background work is given, and how it tells what it does.

Work is a generator function: it yields after each unit that is safe on disk or in the
database, and its return value is the job's result. After a kill the generator is made
anew and finds by itself where it was. Interactive predictions go first: longer work calls
``give_way`` between two small pieces.

Concurrency: one ``WorkContext`` a worker process, shared by the threads of its job
engine. ``Turns`` has the only lock; nothing else is taken while it is held.
"""

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from app import jobs
from app.imaging.known_files import KnownFiles
from app.imaging.scan import Header
from app.settings import Settings
from app.store.database import Database
from app.store.files import FileStore
from app.store.tables import JobRow, Json

_CANCEL_CHECK_S = 0.5
"""Pause between two looks at whether a job shall stop; a look costs a database read."""

_LONGEST_WAIT_S = 60.0
"""Longest that other work waits for one interactive prediction."""


class StoppedError(Exception):
    """Somebody asked the job to stop. No deliberate error: nothing went wrong."""


@dataclass(frozen=True)
class Progress:
    """How far a job is, perhaps with a line for people.

    Attributes:
        fraction: How far, 0 to 1; may begin anew after a restart.
        line: A line for people.
        stage: Which part of the job this is a fraction of, from 0 up.
    """

    fraction: float
    line: str | None = None
    stage: int = field(default=0, compare=False)


Units = Generator[Progress, None, Json]
"""Background work in progress; it returns the job's result, a JSON object."""

Work = Callable[["WorkContext", JobRow], Units]
"""A kind of background work."""


class Turns:
    """Lets interactive predictions go before training and scoring."""

    def __init__(self) -> None:
        """Start with nobody waiting."""
        self._lock = threading.Condition()
        self._interactive = 0

    @contextmanager
    def interactive(self) -> Iterator[None]:
        """Hold others back while the block runs."""
        with self._lock:
            self._interactive += 1
        try:
            yield
        finally:
            with self._lock:
                self._interactive -= 1
                self._lock.notify_all()

    def give_way(self) -> None:
        """Wait while an interactive prediction runs."""
        with self._lock:
            self._lock.wait_for(lambda: self._interactive == 0, timeout=_LONGEST_WAIT_S)


@dataclass(frozen=True)
class WorkContext:
    """What work needs of its worker.

    Attributes:
        settings: Settings of the deployment.
        database: The application database.
        files: Content-addressed files.
        device: PyTorch device name.
        clock: Seconds since the epoch.
        turns: Who goes first.
        headers: What the last scan of the studies folder read.
    """

    settings: Settings
    database: Database
    files: FileStore
    device: str
    clock: Callable[[], float] = time.time
    turns: Turns = field(default_factory=Turns)
    headers: KnownFiles[Header] = field(default_factory=KnownFiles)

    def stop_check(self, job_id: str) -> Callable[[], bool]:
        """Return a function that tells whether the job shall stop, cheap to call often."""
        last_look, wanted = 0.0, False

        def should_stop() -> bool:
            nonlocal last_look, wanted
            if not wanted and time.monotonic() - last_look >= _CANCEL_CHECK_S:
                last_look = time.monotonic()
                with self.database.reading() as session:
                    wanted = jobs.is_cancel_requested(session, job_id)
            return wanted

        return should_stop

    def report(self, job_id: str, progress: Progress) -> None:
        """Note the progress of a job.

        Raises:
            StoppedError: If somebody asked the job to stop.
        """
        with self.database.writing() as session:
            reached = progress.stage + progress.fraction
            goes_on = jobs.report(
                session, job_id, progress.fraction, progress.line, reached=reached
            )
        if not goes_on:
            raise StoppedError


def next_unit(work: Units) -> tuple[Progress | None, Json]:
    """Advance ``work`` by one unit: its progress, or None and the result at the end."""
    try:
        return next(work), {}
    except StopIteration as end:
        return None, end.value or {}
