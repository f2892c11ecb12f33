"""What the demonstration says while it works: plain lines, and one line that is written anew."""

import shutil
import time
from collections.abc import Callable
from typing import Final, TextIO

_QUIET_PAUSE_S: Final = 10.0
"""Pause between two lines of progress where they cannot be written over, as in a log."""

_ERASE_LINE: Final = "\r\x1b[K"


class Narrator:
    """Tells a person what happens, with the time since the start in front."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        """Start the clock."""
        self._stream = stream
        self._clock = clock
        self._started = clock()
        self._last_progress = -_QUIET_PAUSE_S
        self._is_line_open = False

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._started

    def say(self, text: str) -> None:
        """Write a line that stays."""
        self._write(f"{self._close()}{self._stamp()} {text}\n")
        self._last_progress = -_QUIET_PAUSE_S

    def progress(self, text: str) -> None:
        """Write a line that the next one replaces; into a log only now and then."""
        if self._stream.isatty():
            width = shutil.get_terminal_size().columns - 1
            self._write(f"{_ERASE_LINE}{self._stamp()}   {text}"[: width + len(_ERASE_LINE)])
            self._is_line_open = True
        elif self._clock() - self._last_progress >= _QUIET_PAUSE_S:
            self._last_progress = self._clock()
            self._write(f"{self._stamp()}   {text}\n")

    def _close(self) -> str:
        was_open, self._is_line_open = self._is_line_open, False
        return _ERASE_LINE if was_open else ""

    def _stamp(self) -> str:
        minutes, seconds = divmod(int(self.elapsed_s), 60)
        return f"[{minutes:2d}:{seconds:02d}]"

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
