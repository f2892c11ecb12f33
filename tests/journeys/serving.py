"""A real server with its worker, started by the command people use, and watched."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

_PAUSE_S = 0.1

_START_S = 120.0
"""Longest wait for a worker: importing PyTorch on a busy machine takes a while."""

_REQUEST_S = 60.0


@dataclass(frozen=True)
class RunningServer:
    """A server on a port of its own."""

    url: str
    studies: Path | str
    data: Path
    process: subprocess.Popen[bytes]

    def request(self, method: str, path: str, **arguments: object) -> requests.Response:
        """Send a request; redirects are not followed, as the stock clients do not."""
        return requests.request(
            method,
            self.url + path,
            timeout=_REQUEST_S,
            allow_redirects=False,
            **arguments,  # type: ignore[arg-type]  # passed on as they are
        )

    def images(self) -> int:
        """Count the images of the pool."""
        return int(self.request("GET", "/datastore/").json()["total"])

    def labeled(self) -> int:
        """Count the images with a final label."""
        return int(self.request("GET", "/datastore/").json()["completed"])

    def has_worker(self) -> bool:
        """Tell whether a worker lives."""
        return bool(self.request("GET", "/health").json()["status"] == "ok")

    def is_training(self) -> bool:
        """Tell whether a training runs."""
        return self.request("GET", "/train/?check_if_running=true").status_code == 200


@contextmanager
def serving(studies: Path, data: Path, **settings: object) -> Iterator[RunningServer]:
    """Run ``caclabel serve`` until the block ends; ready when the whole folder is in the pool."""
    with started(studies, data, **settings) as server:
        count = len(list(studies.glob("*.nii.gz")))
        wait_until(lambda: server.has_worker() and server.images() == count, server)
        yield server


@contextmanager
def started(studies: Path | str, data: Path, **settings: object) -> Iterator[RunningServer]:
    """Run ``caclabel serve`` until the block ends; ready when it answers.

    ``workers`` among the settings is the number of workers, one by default.
    """
    workers = settings.pop("workers", 1)
    port = _free_port()
    command = [sys.executable, "-m", "server.cli", "serve", "--port", str(port)]
    command += ["--studies", str(studies), "--data", str(data), "--workers", str(workers)]
    process = subprocess.Popen(command, env=_environment(settings), stdout=subprocess.DEVNULL)
    server = RunningServer(f"http://127.0.0.1:{port}", studies, data, process)
    try:
        wait_until(lambda: _answers(server.url), server)
        yield server
    finally:
        process.terminate()
        process.wait()


def wait_until(
    is_true: Callable[[], bool], server: RunningServer, timeout_s: float = _START_S
) -> None:
    """Look again and again until it is true; fail after ``timeout_s`` or when the server ends."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not is_true():
        assert server.process.poll() is None, "the server has ended"
        assert time.monotonic() < deadline, f"not true within {timeout_s:g} s"
        pause.wait(_PAUSE_S)


def _environment(settings: dict[str, object]) -> dict[str, str]:
    given = {f"CACLABEL_{name.upper()}": str(value) for name, value in settings.items()}
    # Most tests leave nothing under way that matters.
    quick = {"CACLABEL_PROFILE": "small", "CACLABEL_SHUTDOWN_SECONDS": "1"}
    return {**os.environ, **quick, **given}


def _answers(url: str) -> bool:
    try:
        return requests.get(url + "/auth/", timeout=_REQUEST_S).status_code == 200
    except requests.ConnectionError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
