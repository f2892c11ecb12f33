"""A real server with its worker, started for the demonstration and ended with it."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.calcium.rules import DEFAULT_RULE
from app.errors import JobFailedError
from app.settings import Settings, load_settings
from server.command_settings import environment_of

_GRACE_S: Final = 15.0
"""Time the server has to end by itself."""


@dataclass(frozen=True)
class RunningServer:
    """A server process.

    Attributes:
        url: Where it answers.
        log: File with everything it writes.
        process: The process.
    """

    url: str
    log: Path
    process: subprocess.Popen[bytes]

    def check_alive(self) -> None:
        """Raise when the process has ended.

        Raises:
            JobFailedError: With the last line it wrote.
        """
        code = self.process.poll()
        if code is not None:
            lines = self.log.read_text(errors="replace").splitlines() or ["it wrote nothing"]
            raise JobFailedError(f"the server ended with code {code}: {lines[-1]}")


def private_settings(folder: Path, **settings: object) -> Settings:
    """Return settings of a server of its own under ``folder``, on a free port.

    The environment may choose device and threads; what would lead to another deployment's
    data, or change what is shown, is set here.
    """
    own: dict[str, object] = {
        "data": folder / "data",
        "database_url": "",
        "jobs_url": "",
        "host": "127.0.0.1",
        "access": "off",
        "oidc_issuer": "",
        "port": free_port(),
        "rule": DEFAULT_RULE,
        "max_epochs": 0,
        "train_every": 0,
        "first_training": 2,
        # Whoever judges on other patients need not keep labels from the network.
        "validation_percent": 0,
        # Nobody goes on with what it leaves.
        "shutdown_seconds": 1.0,
    }
    return load_settings(**{**own, **settings})


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running_server(
    settings: Settings, log: Path, arguments: tuple[str, ...] = ()
) -> Iterator[RunningServer]:
    """Run ``caclabel serve`` for the length of the block.

    Args:
        settings: Settings of the server, its address and folders among them.
        log: File for what it writes.
        arguments: More arguments of the command.
    """
    command = [sys.executable, "-m", "server.cli", "serve", *arguments]
    environment = {**os.environ, **environment_of(settings)}
    with log.open("wb") as output:
        # A session of its own: Ctrl-C comes to the demonstration, which ends the server.
        process = subprocess.Popen(  # noqa: S603 - our own command
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        try:
            yield RunningServer(f"http://{settings.host}:{settings.port}", log, process)
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server; its workers end with it."""
    if process.poll() is not None:
        return
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE_S)
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(_GRACE_S)
