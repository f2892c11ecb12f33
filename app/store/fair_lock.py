"""FairLock of threads that want the same thing: who comes first gets it first.

SQLite lets a writer that has to wait ask again and again, more and more rarely. Of fifty that
write at once some are passed over each time, for longer than any client waits. In turns they
wait as long as those before them take, and no longer.

Concurrency: any thread; a turn may be given back by another thread than the one that took it.
"""

import threading
from collections import deque


class FairLock:
    """One turn at a time, in the order in which they were asked for."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._lock = threading.Lock()
        self._is_taken = False
        self._waiting: deque[threading.Event] = deque()

    @property
    def waiting(self) -> int:
        """How many wait for a turn."""
        return len(self._waiting)

    def take(self, timeout_s: float) -> bool:
        """Wait for a turn; False if it did not come in time."""
        with self._lock:
            if not self._is_taken:
                self._is_taken = True
                return True
            mine = threading.Event()
            self._waiting.append(mine)
        if mine.wait(timeout_s):
            return True
        with self._lock:
            if mine.is_set():
                return True  # It came between the end of the wait and now.
            self._waiting.remove(mine)
        return False

    def give_back(self) -> None:
        """End a turn; the one who waits longest has the next."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._is_taken = False
