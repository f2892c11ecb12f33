"""The line to a DICOMweb server: how many may wait for it at once, and whether it is dead.

Concurrency: one object per address and process, used by any thread. Each request that waits
for a server holds a thread; a server that accepts connections and never answers would hold
all of them. So there are few places, few that wait for a place, and everybody else is told
at once. Nothing is waited for while the lock is held.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Final

from app.errors import PacsDownError

PLACES: Final = 16
"""Requests that may wait for an answer of a server at once."""

QUEUE: Final = 12
"""Requests that may wait for a place: a viewer asks for many slices in one moment."""

_QUEUE_S: Final = 2.0
"""Longest wait for a place."""

_SILENCE_S: Final = 5.0
"""Time after a missing answer in which a server is not asked again."""

_ADDRESSES: Final = 64
"""Servers that are remembered; a deployment has one."""


class Line:
    """The line to one server."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with a server that is believed to answer."""
        self._clock = clock
        self._places = threading.BoundedSemaphore(PLACES)
        self._queue = threading.BoundedSemaphore(QUEUE)
        self._held = threading.local()
        self._lock = threading.Lock()
        self._silent_until = 0.0
        self._answered_at = 0.0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold one of the places; a thread that has one already keeps it.

        Raises:
            PacsDownError: If there is none, or the server did not answer a moment ago.
        """
        if getattr(self._held, "is_held", False):
            yield
            return
        self.check()
        if not self._places.acquire(blocking=False):
            self._wait_for_place()
        self._held.is_held = True
        try:
            self.check()
            yield
        finally:
            self._held.is_held = False
            self._places.release()

    def now(self) -> float:
        """Return the time by which requests are compared."""
        return self._clock()

    def note_answer(self) -> None:
        """Note that the server answered."""
        with self._lock:
            self._silent_until, self._answered_at = 0.0, self._clock()

    def note_silence(self, asked_at: float) -> None:
        """Note that a question got no answer in time; nothing if others got theirs meanwhile."""
        with self._lock:
            if self._answered_at <= asked_at:
                self._silent_until = self._clock() + _SILENCE_S

    def check(self) -> None:
        """Raise PacsDownError for a while after a question that got no answer in time."""
        with self._lock:
            if self._clock() < self._silent_until:
                raise PacsDownError("the DICOMweb server did not answer in time a moment ago")

    def _wait_for_place(self) -> None:
        if not self._queue.acquire(blocking=False):
            raise PacsDownError("too many requests wait for the DICOMweb server; try again soon")
        try:
            is_free = self._places.acquire(timeout=_QUEUE_S)
        finally:
            self._queue.release()
        if not is_free:
            raise PacsDownError("too many requests wait for the DICOMweb server; try again soon")


@lru_cache(maxsize=_ADDRESSES)
def line_to(url: str) -> Line:
    """Return the line to a server, the same one for all requests of the process."""
    del url
    return Line()
