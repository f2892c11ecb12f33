"""A real server without a worker, in which nobody waits for long."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from tests.journeys.serving import RunningServer, wait_until
from tests.server.pool import image_bytes, label_bytes

_SETTINGS = {
    "TASK_TIMEOUT_S": "0.2",
    "INFER_TIMEOUT_S": "0.2",
    "PROFILE": "small",
    "UPLOAD_LIMIT_MB": "4",
}

_ANSWER_S = 120

_START_S = 300.0


@dataclass(frozen=True)
class FuzzedServer:
    """A server that gets requests nobody means."""

    url: str
    data: Path

    def fill(self) -> None:
        """Put a labeled image into the pool."""
        for path, sent in (
            ("/datastore?image=case", {"file": ("case.nii.gz", image_bytes())}),
            ("/datastore/label?image=case", {"label": ("x.nrrd", label_bytes())}),
        ):
            answer = requests.put(self.url + path, files=sent, timeout=_ANSWER_S)
            assert answer.status_code == 200, answer.text

    def answers(self) -> bool:
        """Tell whether it does."""
        return requests.get(self.url + "/info", timeout=_ANSWER_S).status_code == 200

    def log(self) -> str:
        """Return its log."""
        return (self.data / "logs" / "caclabel.log").read_text(encoding="utf-8")


@contextmanager
def fuzzed_server(data: Path) -> Iterator[FuzzedServer]:
    """Run a server until the block ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "server.cli", "serve", "--port", str(port)]
    command += ["--data", str(data), "--workers", "0"]
    environment = os.environ | {f"CACLABEL_{name}": value for name, value in _SETTINGS.items()}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    server = FuzzedServer(f"http://127.0.0.1:{port}", data)
    try:
        running = RunningServer(server.url, data, data, process)
        wait_until(lambda: _listens(port), running, timeout_s=_START_S)
        yield server
    finally:
        process.terminate()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
