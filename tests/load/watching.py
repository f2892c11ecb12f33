"""A server's processes and database, looked at once a second while it is asked."""

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from tests.journeys.soak import worker_processes
from tests.load.site import Site

_PAUSE_S: Final = 1.0

_MIB: Final = 2**20

_SETTLED: Final = 1 / 3
"""The first part of a run counts for nothing: caches and threads fill up in it."""

_FLAT_SHARE: Final = 0.05
_FLAT_MIB: Final = 8.0
"""Memory is flat if it grows by less than the one or the other in the rest of a run."""


@dataclass(frozen=True)
class Glance:
    """A process at one moment.

    Attributes:
        at_s: Seconds since the watching began.
        memory_mib: Resident memory.
        files: Open file descriptors.
        threads: Threads.
        processor_s: Processor time so far.
    """

    at_s: float
    memory_mib: float
    files: int
    threads: int
    processor_s: float


@dataclass
class Watch:
    """What was seen.

    Attributes:
        web: The web process.
        worker: The worker.
        wal_mib: Size of the database's write-ahead log.
        load: Load averages of the machine.
        held_twice: Images with two open leases, which there must never be.
    """

    web: list[Glance] = field(default_factory=list)
    worker: list[Glance] = field(default_factory=list)
    wal_mib: list[float] = field(default_factory=list)
    load: list[float] = field(default_factory=list)
    held_twice: list[str] = field(default_factory=list)


@contextmanager
def watching(site: Site) -> Iterator[Watch]:
    """Look once a second, in a thread, until the block ends."""
    watch, ended, began = Watch(), threading.Event(), time.monotonic()

    def look() -> None:
        while not ended.wait(_PAUSE_S):
            _look(watch, site, time.monotonic() - began)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield watch
    finally:
        ended.set()
        thread.join()


def _look(watch: Watch, site: Site, at_s: float) -> None:
    watch.web.append(glance(site.server.process.pid, at_s))
    # None at the moment, while one is started again.
    watch.worker.extend(glance(process, at_s) for process in worker_processes(site.server))
    database = site.settings.data / "caclabel.sqlite"
    watch.wal_mib.append(database.with_name("caclabel.sqlite-wal").stat().st_size / _MIB)
    watch.load.append(os.getloadavg()[0])
    with closing(sqlite3.connect(database)) as connection:
        open_leases = (
            "SELECT image_id FROM leases WHERE released_at IS NULL"
            " GROUP BY image_id HAVING count(*) > 1"
        )
        watch.held_twice.extend(image for (image,) in connection.execute(open_leases))


def glance(process: int, at_s: float = 0.0) -> Glance:
    """Look at a process."""
    folder = Path("/proc", str(process))
    status = dict(line.split(":\t", 1) for line in (folder / "status").read_text().splitlines())
    facts = (folder / "stat").read_text().rpartition(")")[2].split()
    return Glance(
        at_s,
        int(status["VmRSS"].split()[0]) / 1024,
        len(list((folder / "fd").iterdir())),
        int(status["Threads"]),
        (int(facts[11]) + int(facts[12])) / os.sysconf("SC_CLK_TCK"),
    )


@dataclass(frozen=True)
class Growth:
    """How a figure moved after a run had settled.

    Attributes:
        start: Its median in the first quarter of that time.
        end: Its median in the last quarter.
        highest: Its highest value.
        slope: Median of the slopes between all pairs, times the time (Theil and Sen).
    """

    start: float
    end: float
    highest: float
    slope: float

    @property
    def is_flat(self) -> bool:
        """Whether memory, in MiB, did not grow."""
        return self.slope < max(_FLAT_MIB, _FLAT_SHARE * self.start)


def growth(at_s: Sequence[float], values: Sequence[float]) -> Growth:
    """Compute how values grew, leaving out the time in which a server settles."""
    first = int(len(values) * _SETTLED)
    when, what = np.asarray(at_s[first:], np.float64), np.asarray(values[first:], np.float64)
    one, other = np.triu_indices(when.size, k=1)
    slopes = (what[other] - what[one]) / (when[other] - when[one])
    quarter = max(1, what.size // 4)
    return Growth(
        float(np.median(what[:quarter])),
        float(np.median(what[-quarter:])),
        float(what.max()),
        float(np.median(slopes) * (when[-1] - when[0])),
    )


def memory_growth(glances: Sequence[Glance]) -> Growth:
    """Compute how the memory of a process grew."""
    return growth([one.at_s for one in glances], [one.memory_mib for one in glances])
