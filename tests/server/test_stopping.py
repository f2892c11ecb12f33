"""A server that is asked to stop, and asked again."""

import os
import signal
from pathlib import Path

import pytest
import uvicorn

from server import supervisor
from server.main import create_app
from server.stopping import PatientServer
from server.supervisor import Supervisor
from tests.server.test_supervisor import is_alive, python
from tests.server.waiting import wait_until


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the exit codes with which this process would have ended by now."""
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    return codes


@pytest.mark.parametrize("again", [signal.SIGTERM, signal.SIGINT])
def test_asked_twice_a_server_ends_at_once(exits: list[int], again: signal.Signals) -> None:
    server = PatientServer(uvicorn.Config(create_app, log_config=None), on_stop=lambda: None)
    server.handle_exit(signal.SIGTERM, None)
    assert server.should_exit
    assert exits == []
    server.handle_exit(again, None)
    assert exits == [128 + again]


@pytest.mark.parametrize(
    ("code", "last_words"),
    [
        # Asks for time, and takes it.
        ("signal.signal(signal.SIGTERM, lambda *_: (say('done'), sys.exit()))", "ready done"),
        ("signal.signal(signal.SIGTERM, signal.SIG_IGN)", "ready"),
    ],
)
def test_a_worker_may_end_by_itself_and_must_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, last_words: str
) -> None:
    monkeypatch.setattr(supervisor, "_MARGIN_S", 1.0)
    log = tmp_path / "log"
    start = (
        "import os, signal, sys, time\ndef say(word): open(sys.argv[1], 'a').write(word + ' ')\n"
    )
    end = "\nopen(sys.argv[1] + '.pid', 'w').write(str(os.getpid()))\nsay('ready')\ntime.sleep(99)"
    watched = Supervisor(python(start + code + end, str(log)), os.environ, first_pause_s=0.01)
    watched.start()
    wait_until(lambda: log.exists() and "ready" in log.read_text())
    watched.ask_to_stop()
    watched.stop()
    assert log.read_text().split() == last_words.split()
    assert not is_alive(int(Path(f"{log}.pid").read_text()))
