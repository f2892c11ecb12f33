"""Worker processes of a server: started, watched, started again when they die.

Concurrency: one thread a worker; ``ask_to_stop`` and ``stop`` may be called from any thread.
A worker ends with its server however that ends, because it reads from a pipe that the kernel
closes.
"""

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from typing import Final

from app.settings import Settings
from server.command_settings import environment_of

logger = logging.getLogger(__name__)

_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 60.0
"""Pauses between a worker's death and the next start, doubled from death to death."""

_HEALTHY_AFTER_S: Final = 60.0
"""A worker that lived so long had no trouble to start; the pauses begin anew."""

_MARGIN_S: Final = 5.0
"""Time a worker has to end beyond what it may wait for its jobs."""


class Supervisor:
    """Keeps one worker process alive."""

    def __init__(
        self,
        command: list[str],
        environment: Mapping[str, str],
        *,
        first_pause_s: float = _FIRST_PAUSE_S,
        patience_s: float = 0.0,
    ) -> None:
        """Prepare to run a worker; nothing is started yet.

        Args:
            command: Command of the worker.
            environment: Its environment.
            first_pause_s: Pause before it is started again.
            patience_s: How long it may wait for its jobs when it is asked to stop.
        """
        self._patience_s = patience_s
        self._first_pause_s = first_pause_s
        self.command = command
        self.environment = dict(environment)
        self._stopped = threading.Event()
        self._last_moment = 0.0
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def start(self) -> None:
        """Start the worker and watch it."""
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Ask the worker to end, and stop watching; returns at once."""
        with self._lock:
            if self._stopped.is_set():
                return
            self._stopped.set()
            self._last_moment = time.monotonic() + self._patience_s + _MARGIN_S
            if self._process is not None:
                self._process.terminate()

    def stop(self) -> None:
        """Ask the worker to end if nobody has yet, wait for it, and kill it in the end."""
        self.ask_to_stop()
        self._thread.join(max(self._last_moment - time.monotonic(), 0.0))
        if self._thread.is_alive() and self._process is not None:
            logger.warning("a worker did not stop in time and is killed")
            self._process.kill()
            self._thread.join(_MARGIN_S)

    def _watch(self) -> None:
        pause_s = self._first_pause_s
        while not self._stopped.is_set():
            started = time.monotonic()
            code = self._run_once()
            if self._stopped.is_set():
                return
            lived_s = time.monotonic() - started
            pause_s = self._first_pause_s if lived_s > _HEALTHY_AFTER_S else pause_s
            logger.warning("worker ended with code %s; next start in %g s", code, pause_s)
            self._stopped.wait(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _run_once(self) -> int:
        with self._lock:
            if self._stopped.is_set():
                return 0
            # The worker ends when its standard input does; see server.parent_watch. A group of its
            # own keeps Ctrl-C from it, which is meant for the server.
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                self.command, stdin=subprocess.PIPE, env=self.environment, process_group=0
            )
        with self._process as process:
            return process.wait()


def worker_supervisors(settings: Settings, count: int) -> list[Supervisor]:
    """Return supervisors of ``count`` workers with the names worker-0, worker-1 and so on."""
    command = [sys.executable, "-m", "server.cli", "worker", "--end-with-parent"]
    environment = {**os.environ, **environment_of(settings), **_thread_environment()}
    return [
        Supervisor(
            [*command, "--worker-id", f"worker-{number}"],
            environment,
            patience_s=settings.shutdown_seconds,
        )
        for number in range(count)
    ]


def _thread_environment() -> dict[str, str]:
    """Return what keeps a worker from starving the web process while it waits."""
    threads = max(1, (os.cpu_count() or 1) - 1)
    return {
        "OMP_WAIT_POLICY": "PASSIVE",
        "GOMP_SPINCOUNT": "0",
        "OMP_NUM_THREADS": str(threads),
    }
