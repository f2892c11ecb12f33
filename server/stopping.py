"""How a server ends when it is asked to: nothing new, what is under way to its end, for a while.

Concurrency: ``handle_exit`` runs between any two steps of the main thread and only sets
marks; ``shutdown`` runs on the event loop.
"""

import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType
from typing import Final, NoReturn

import uvicorn

logger = logging.getLogger(__name__)

_BY_SIGNAL: Final = 128
"""Shells add the number of the signal that ended a process to this."""


class PatientServer(uvicorn.Server):
    """A web server that lets requests under way end; asked to stop twice, it ends at once."""

    def __init__(self, config: uvicorn.Config, *, on_stop: Callable[[], None]) -> None:
        """Prepare to serve.

        Args:
            config: What is served; its graceful timeout bounds the wait.
            on_stop: Called once, on the event loop, when the server is asked to stop.
        """
        super().__init__(config)
        self._on_stop = on_stop

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note that the server was asked to stop."""
        if self.should_exit:
            end_at_once(sig, frame)
        # Not noted as uvicorn does: it would send the signal to this process once more at the end.
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no new connection, and wait for the requests under way."""
        self._on_stop()
        await super().shutdown(sockets)


def end_at_once(number: int, _frame: FrameType | None) -> NoReturn:
    """End this process; its workers end with it, and what was under way is taken up again."""
    os._exit(_BY_SIGNAL + number)


def take_signals() -> None:
    """Let signals end this process at once while no server runs that would listen to them."""
    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, end_at_once)


def leave() -> NoReturn:
    """End this process well, without waiting for threads that are left."""
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)
