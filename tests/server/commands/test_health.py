"""``caclabel health``: what a container asks, against a real server and a worker's row."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn

from app.settings import Settings
from app.store.database import Database
from app.store.tables import WorkerRow
from server.cli import main
from server.main import create_app
from tests.server.waiting import wait_until


@contextmanager
def serving(settings: Settings, **tls: str) -> Iterator[int]:
    """Serve in a thread on a port of its own until the block ends."""
    config = uvicorn.Config(create_app(settings), port=0, log_config=None, **tls)  # type: ignore[arg-type]  # names of files only
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started)
        yield int(server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        thread.join()


def write_sign(settings: Settings, *, seen_at: float) -> None:
    database = Database(settings.database)
    database.migrate()
    with database.writing() as session:
        session.merge(WorkerRow(id="gpu-1", seen_at=seen_at, started_at=0.0))
    database.close()


def test_a_server_that_answers_is_well(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(settings) as port:
        # A server that listens everywhere is asked on this machine.
        assert main(["health", "--host", "0.0.0.0", "--port", str(port)]) == 0
        assert capsys.readouterr().out == '200 {"status":"alive"}\n'
        assert main(["health", "--ready", "--port", str(port)]) == 0
        assert capsys.readouterr().out == '200 {"status":"ready"}\n'


def test_a_server_without_room_lives_but_is_not_ready(tmp_path: Path) -> None:
    # More than any disk has.
    full = Settings(data=tmp_path / "data", disk_reserve_mb=10**12)
    with serving(full) as port:
        assert main(["health", "--port", str(port)]) == 0
        assert main(["health", "--ready", "--port", str(port)]) == 1


def test_a_server_with_tls_is_asked_by_tls(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = tmp_path / "server.pem", tmp_path / "server.key"
    # Made out to another name than the one asked for, as real ones are.
    request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1"
    files = ["-subj", "/CN=cac.hospital.example", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", *request.split(), *files], check=True, capture_output=True)
    monkeypatch.setenv("CACLABEL_TLS_CERTIFICATE", str(certificate))
    monkeypatch.setenv("CACLABEL_TLS_KEY", str(key))
    with serving(settings, ssl_certfile=str(certificate), ssl_keyfile=str(key)) as port:
        assert main(["health", "--port", str(port)]) == 0


def test_no_server_is_not_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Port 9 is of the discard service, which nobody runs.
    assert main(["health", "--port", "9", "--data", str(tmp_path)]) == 1
    assert capsys.readouterr().out.startswith("no answer from 127.0.0.1 port 9")


@pytest.mark.parametrize(
    ("age_s", "code", "told"),
    [(1.0, 0, "worker 'gpu-1' is alive\n"), (60.0, 1, "worker 'gpu-1' is silent for too long\n")],
)
def test_a_worker_is_well_by_its_sign_of_life(
    settings: Settings, age_s: float, code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_sign(settings, seen_at=time.time() - age_s)
    looking = ["health", "--worker", "--data", str(settings.data)]
    assert main([*looking, "--worker-id", "gpu-1"]) == code
    assert capsys.readouterr().out == told
    assert main(looking) == 1
    assert "'worker-0' ever" in capsys.readouterr().out


def test_looking_waits_for_no_writer(settings: Settings) -> None:
    write_sign(settings, seen_at=time.time())
    database = Database(settings.database)
    with database.writing():
        assert (
            main(["health", "--worker", "--worker-id", "gpu-1", "--data", str(settings.data)]) == 0
        )
    database.close()


def test_it_is_light_enough_to_be_asked_often() -> None:
    heavy = "{'torch', 'fastapi', 'sqlalchemy'}"
    code = f"import sys, server.commands.health; print({heavy} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
