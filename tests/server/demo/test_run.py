"""The folder of a demonstration, and a server that does not do what is expected."""

from io import StringIO
from pathlib import Path

import pytest

from app.errors import ConflictError, JobFailedError
from app.settings import Settings
from server.demo.narration import Narrator
from server.demo.plan import DemoPlan
from server.demo.run import prepare_folder
from server.demo.server_process import free_port, private_settings, running_server
from server.demo.waiting import Step, Waiting

TINY = DemoPlan(size=(64, 64, 12), pool=6, test=2, rounds=2, epochs=1)


def test_a_folder_of_an_earlier_demonstration_is_emptied(tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare_folder(out, TINY)
    (out / "old").touch()
    prepare_folder(out, TINY)
    assert not (out / "old").exists()


def test_a_folder_with_anything_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ConflictError, match="holds something else"):
        prepare_folder(tmp_path, TINY)
    assert (tmp_path / "thesis.tex").exists()


def test_a_server_that_ends_is_noticed_with_its_last_words(tmp_path: Path) -> None:
    studies = tmp_path / "absent"
    settings = Settings(studies=studies, data=tmp_path / "data", port=free_port())
    with running_server(settings, tmp_path / "log") as server:
        waiting = Waiting(server, Narrator(StringIO()))
        with pytest.raises(JobFailedError, match=r"the studies folder .* does not exist"):
            waiting.until_done(lambda: Step(False, 0.0, "waiting"))


def test_a_standstill_ends_the_waiting(tmp_path: Path) -> None:
    settings = private_settings(tmp_path)
    with running_server(settings, tmp_path / "log") as server:
        waiting = Waiting(server, Narrator(StringIO()))
        with pytest.raises(JobFailedError, match="no progress for 0 s: stuck"):
            waiting.until_done(lambda: Step(False, 1.0, "stuck"), still_s=0.0)
    assert server.process.poll() is not None


def test_the_server_never_touches_another_deployment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CACLABEL_DATABASE_URL", "sqlite:///precious.sqlite")
    monkeypatch.setenv("CACLABEL_DATA", "precious")
    settings = private_settings(tmp_path)
    assert settings.data == tmp_path / "data"
    assert str(tmp_path) in settings.database
    assert str(tmp_path) in settings.jobs_database
