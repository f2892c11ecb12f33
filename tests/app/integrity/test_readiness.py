"""What a server needs is looked at before it starts and while it runs."""

import stat
from pathlib import Path

import pytest

from app.background.presence import WorkerPresence
from app.errors import ConflictError, LostFileError, SettingsError
from app.integrity.damage import note_damage
from app.integrity.readiness import (
    LOW_MB,
    Readiness,
    check_writable,
    one_server,
    readiness,
    room_problems,
)
from app.pacs.status import PacsStatus
from app.settings import Settings
from tests.app.integrity.folder import Folder

_WORKER = WorkerPresence("worker-0", is_alive=True, seen_at=0.0)

_PACS = PacsStatus("http://pacs", False, None, 5.0, "connection refused", None, 0, 0)


def look(folder: Folder, *workers: WorkerPresence, pacs: PacsStatus | None = None) -> Readiness:
    with folder.database.reading() as session:
        return readiness(session, folder.settings, workers, pacs)


def test_nothing_is_missing_when_all_is_well(folder: Folder) -> None:
    found = look(folder, _WORKER)
    assert (found.is_ready, found.missing, found.damaged_files) == (True, (), 0)


@pytest.mark.parametrize(
    ("workers", "pacs", "problem"),
    [
        ([], None, "no worker is alive"),
        ([WorkerPresence("worker-0", is_alive=False, seen_at=0.0)], None, "no worker is alive"),
        ([_WORKER], _PACS, "connection refused"),
    ],
)
def test_labels_are_taken_while_others_are_away(
    folder: Folder, workers: list[WorkerPresence], pacs: PacsStatus | None, problem: str
) -> None:
    found = look(folder, *workers, pacs=pacs)
    assert found.is_ready
    (sentence,) = found.missing
    assert problem in sentence


def test_damaged_files_are_counted(folder: Folder) -> None:
    note_damage(folder.database, LostFileError("ab.nrrd"), now=1.0)
    found = look(folder, _WORKER)
    assert found.damaged_files == 1
    assert found.missing == ("1 stored file is damaged or lost; /quarantine lists them",)


@pytest.mark.parametrize(
    ("free_mb", "reserve_mb", "is_full", "is_told"),
    [
        (511, 512, True, True),
        (512, 512, False, True),
        (512 + LOW_MB - 1, 512, False, True),
        (512 + LOW_MB, 512, False, False),
        # Without a reserve a disk can still be full.
        (0, 0, True, True),
    ],
)
def test_room_is_told_before_it_is_gone(
    free_mb: int, reserve_mb: int, *, is_full: bool, is_told: bool
) -> None:
    full, low = room_problems(free_mb << 20, reserve_mb=reserve_mb)
    assert (bool(full), bool(full + low)) == (is_full, is_told)


def test_a_second_server_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "data")
    with one_server(settings), pytest.raises(ConflictError, match="another server"):
        one_server(settings).__enter__()
    with one_server(settings):
        pass


def test_a_folder_that_is_none_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SettingsError, match="cannot be written \\(Not a directory\\)"):
        check_writable(Settings(data=tmp_path / "file/data"))


def test_a_new_data_folder_is_for_its_user_alone(tmp_path: Path) -> None:
    made, found = tmp_path / "made", tmp_path / "found"
    found.mkdir(mode=0o750)
    for folder in (made, found):
        check_writable(Settings(data=folder))
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in (made, found)] == [0o700, 0o750]


def test_the_probe_leaves_nothing_behind(tmp_path: Path) -> None:
    check_writable(Settings(data=tmp_path))
    assert list(tmp_path.iterdir()) == []
