"""Waiting for the server, never blindly: it must live and something must move."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from app.errors import JobFailedError
from server.demo.narration import Narrator
from server.demo.server_process import RunningServer

_POLL_S: Final = 0.5
"""Pause between two questions to the server."""

_STILL_S: Final = 600.0
"""Longest time without any progress before something must be wrong."""


@dataclass(frozen=True)
class Step:
    """How far something is.

    Attributes:
        is_done: Whether it is done.
        progress: Any number that changes when something moved.
        text: What a person is told meanwhile.
    """

    is_done: bool
    progress: float
    text: str


@dataclass(frozen=True)
class Waiting:
    """Waits and tells a person what for.

    Attributes:
        server: The server process.
        narrator: Says what happens.
    """

    server: RunningServer
    narrator: Narrator

    def until_done(self, look: Callable[[], Step], still_s: float = _STILL_S) -> None:
        """Look until it is done.

        Raises:
            JobFailedError: If the server has ended, or nothing moved for ``still_s``.
        """
        last_progress, last_move = -1.0, time.monotonic()
        while True:
            self.server.check_alive()
            step = look()
            if step.is_done:
                return
            if step.progress != last_progress:
                last_progress, last_move = step.progress, time.monotonic()
            if time.monotonic() - last_move > still_s:
                raise JobFailedError(f"no progress for {still_s:.0f} s: {step.text}")
            self.narrator.progress(step.text)
            time.sleep(_POLL_S)
