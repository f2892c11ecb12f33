"""What a backup holds comes back byte by byte; what is not whole is never put back."""

import json
import shutil
import sqlite3
import stat
from pathlib import Path

import pytest

from app.errors import ConflictError, InvalidInputError, NotFoundError
from app.integrity.backup import back_up
from app.integrity.check import check_folder
from app.integrity.restore import restore
from app.settings import Settings
from tests.app.integrity.folder import Folder


def rows(data: Path) -> list[str]:
    connection = sqlite3.connect(data / "caclabel.sqlite")
    try:
        return list(connection.iterdump())
    finally:
        connection.close()


def test_everything_that_rows_name_comes_back(folder: Folder, tmp_path: Path) -> None:
    folder.files.put(b"named by no row", ".nrrd")
    (folder.settings.data / "cache").mkdir()
    assert back_up(folder.settings, tmp_path / "backup", now=5.0).is_sound
    restored = Settings(data=tmp_path / "restored")
    report = restore(tmp_path / "backup", restored)
    assert report.findings == []
    assert report.counts == check_folder(folder.settings).counts
    assert rows(restored.data) == rows(folder.settings.data)
    kept = {
        path.relative_to(restored.data): path.read_bytes()
        for path in restored.data.rglob("*")
        if path.is_file() and path.suffix != ".sqlite"
    }
    assert len(kept) == 7
    assert all((folder.settings.data / path).read_bytes() == kept[path] for path in kept)


def test_backup_and_restored_folder_are_for_their_user_alone(
    folder: Folder, tmp_path: Path
) -> None:
    back_up(folder.settings, tmp_path / "backup", now=5.0)
    restore(tmp_path / "backup", Settings(data=tmp_path / "restored"))
    made = (tmp_path / "backup", tmp_path / "restored")
    assert [stat.S_IMODE(path.stat().st_mode) for path in made] == [0o700, 0o700]


def test_a_backup_is_a_data_folder_that_can_be_checked_where_it_lies(
    folder: Folder, tmp_path: Path
) -> None:
    back_up(folder.settings, tmp_path / "backup", now=5.0)
    report = check_folder(Settings(data=tmp_path / "backup"))
    assert report.findings == []
    assert report.counts["files"] == 7


def test_what_was_damaged_before_is_named_and_left_out(folder: Folder, tmp_path: Path) -> None:
    damaged = folder.path_of("label final version 1 of image case_1")
    damaged.write_bytes(b"something else")
    lost = folder.path_of("image case_1")
    lost.unlink()
    taken = back_up(folder.settings, tmp_path / "backup", now=5.0)
    told = sorted(finding.place for finding in taken.findings)
    assert sorted(place.partition(" ")[0] for place in told) == sorted(
        path.relative_to(folder.settings.data).as_posix() for path in (damaged, lost)
    )
    restored = Settings(data=tmp_path / "restored")
    assert len(restore(tmp_path / "backup", restored).findings) == 2
    assert not list(restored.data.rglob(damaged.name))


@pytest.mark.parametrize("name", ["caclabel.sqlite", "job-1.safetensors"])
def test_a_changed_backup_is_not_put_back(folder: Folder, tmp_path: Path, name: str) -> None:
    back_up(folder.settings, tmp_path / "backup", now=5.0)
    (changed,) = (tmp_path / "backup").rglob(name)
    changed.write_bytes(changed.read_bytes() + b"\0")
    with pytest.raises(ConflictError, match="is damaged; the restore broke off"):
        restore(tmp_path / "backup", Settings(data=tmp_path / "restored"))
    # Nobody takes half of a folder for a whole one.
    assert not (tmp_path / "restored/caclabel.sqlite").exists()


def test_a_backup_does_not_lie_in_what_it_is_for(folder: Folder) -> None:
    target = folder.settings.data / "backups" / "monday"
    with pytest.raises(InvalidInputError, match="would lie in the data folder"):
        back_up(folder.settings, target, now=5.0)
    assert not target.parent.exists()


def test_a_backup_that_broke_off_is_none(folder: Folder, tmp_path: Path) -> None:
    back_up(folder.settings, tmp_path / "backup", now=5.0)
    (tmp_path / "backup/manifest.json").unlink()
    with pytest.raises(NotFoundError, match="no finished backup"):
        restore(tmp_path / "backup", Settings(data=tmp_path / "restored"))
    assert not (tmp_path / "restored").exists()


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "files/aa/../../x", "logs/a"])
def test_a_backup_writes_nowhere_but_where_backups_do(
    folder: Folder, tmp_path: Path, path: str
) -> None:
    back_up(folder.settings, tmp_path / "backup", now=5.0)
    manifest = json.loads((tmp_path / "backup/manifest.json").read_text())
    manifest["files"][path] = "00"
    (tmp_path / "backup/manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InvalidInputError, match="names files that no backup has"):
        restore(tmp_path / "backup", Settings(data=tmp_path / "restored"))


@pytest.mark.parametrize("content", ["no json", "[]", "{}", '{"format": "other"}'])
def test_a_manifest_of_something_else_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(InvalidInputError, match="of format caclabel-backup-1"):
        restore(tmp_path, Settings(data=tmp_path / "restored"))


def test_nothing_is_written_over(folder: Folder, tmp_path: Path) -> None:
    back_up(folder.settings, tmp_path / "backup", now=5.0)
    with pytest.raises(ConflictError, match="is not empty"):
        back_up(folder.settings, tmp_path / "backup", now=6.0)
    before = folder.contents()
    with pytest.raises(ConflictError, match="is not empty"):
        restore(tmp_path / "backup", folder.settings)
    assert folder.contents() == before


def test_a_database_server_is_told_how_to_be_backed_up(folder: Folder, tmp_path: Path) -> None:
    elsewhere = folder.settings.model_copy(update={"database_url": "postgresql://nowhere/db"})
    with pytest.raises(InvalidInputError, match="pg_dump first"):
        back_up(elsewhere, tmp_path / "backup", now=5.0)
    assert not (tmp_path / "backup").exists()


def test_a_backup_on_a_full_disk_is_refused_before_it_begins(
    folder: Folder, tmp_path: Path
) -> None:
    # Sparse: it takes no room, and no disk has room for a copy of it.
    free = shutil.disk_usage(tmp_path).free
    with folder.path_of("image case_1").open("r+b") as file:
        file.truncate(2 * free)
    with pytest.raises(ConflictError, match="MB are free"):
        back_up(folder.settings, tmp_path / "backup", now=5.0)
