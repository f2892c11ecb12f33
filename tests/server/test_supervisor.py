"""Worker processes that die are started again, and none outlives its server."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app.settings import Settings
from server.supervisor import Supervisor, worker_supervisors
from tests.server.waiting import wait_until

_REPOSITORY = Path(__file__).resolve().parents[2]

_ENVIRONMENT = {**os.environ, "PYTHONPATH": str(_REPOSITORY)}


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", code, *arguments]


def test_a_worker_that_dies_is_started_again(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = "import sys; open(sys.argv[1], 'a').write('started\\n'); sys.exit(3)"
    supervisor = Supervisor(python(code, str(log)), _ENVIRONMENT, first_pause_s=0.01)
    supervisor.start()
    try:
        wait_until(lambda: log.exists() and log.read_text().count("started") >= 3)
    finally:
        supervisor.stop()


def test_a_stopped_worker_stays_down(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = "import os, sys, time; open(sys.argv[1], 'a').write(f'{os.getpid()}\\n'); time.sleep(99)"
    supervisor = Supervisor(python(code, str(log)), _ENVIRONMENT, first_pause_s=0.01)
    supervisor.start()
    wait_until(lambda: log.exists() and log.read_text().endswith("\n"))
    supervisor.stop()
    [process] = log.read_text().split()
    assert not is_alive(int(process))


def test_a_worker_ends_when_its_server_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = (
        "import os, sys, time; from server.parent_watch import end_with_parent; end_with_parent();"
        " open(sys.argv[1], 'a').write(f'{os.getpid()}\\n'); time.sleep(99)"
    )
    parent = (
        "import os, sys, time; from server.supervisor import Supervisor;"
        " Supervisor([sys.executable, '-c', *sys.argv[1:]], os.environ).start(); time.sleep(99)"
    )
    server = subprocess.Popen(python(parent, child, str(log)), env=_ENVIRONMENT)
    try:
        wait_until(lambda: log.exists() and log.read_text().endswith("\n"))
    finally:
        server.send_signal(signal.SIGKILL)
        server.wait()
    wait_until(lambda: not is_alive(int(log.read_text())))


def test_every_worker_has_a_name_and_the_settings_of_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CACLABEL_SEED", "1")
    settings = Settings(data=tmp_path, seed=7, cors_origins=("http://a", "http://b"))
    first, second = worker_supervisors(settings, 2)
    assert first.command[-2:] == ["--worker-id", "worker-0"]
    assert second.command[-2:] == ["--worker-id", "worker-1"]
    for name, value in first.environment.items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings
    # Waiting threads of a worker must not take the time of the web process.
    assert first.environment["OMP_WAIT_POLICY"] == "PASSIVE"


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    # A killed process stays in the table until it has been waited for.
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
