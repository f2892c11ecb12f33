"""Stored files that a disk has changed are never given out, and somebody is told."""

from pathlib import Path

import pytest

from app import images
from app.background.sweep import sweep
from app.background.work import WorkContext
from app.errors import DamagedFileError, LostFileError
from app.integrity.damage import damaged_count, forget_mended, note_damage
from tests.app.integrity.folder import Folder, add_studies

_LABEL = "label final version 1 of image case_1"


def damage(folder: Folder) -> tuple[Path, bytes]:
    path = folder.path_of(_LABEL)
    content = path.read_bytes()
    # One bit: no size, no time and no header tells.
    changed = bytearray(content)
    changed[len(changed) // 2] ^= 1
    path.write_bytes(changed)
    return path, content


def listed(folder: Folder) -> list[tuple[str, str]]:
    with folder.database.reading() as session:
        return [(row.path, row.problem) for row in images.list_quarantine(session)]


def test_a_changed_bit_is_found_when_the_file_is_asked_for(folder: Folder) -> None:
    path, _ = damage(folder)
    with pytest.raises(DamagedFileError) as caught:
        folder.files.path(path.name.partition(".")[0], ".nrrd")
    assert str(caught.value).startswith(f"the stored file {path.name} is damaged")
    assert str(folder.settings.data) not in str(caught.value)


def test_storing_the_content_again_mends_it(folder: Folder) -> None:
    path, content = damage(folder)
    folder.files.put(content, ".nrrd")
    assert path.read_bytes() == content


def test_the_list_says_whose_file_it_is_once(folder: Folder) -> None:
    path, _ = damage(folder)
    for now in (1.0, 2.0):
        note_damage(folder.database, DamagedFileError(path.name), now=now)
    ((place, problem),) = listed(folder)
    assert place == f"data folder: {path.name}"
    assert problem.endswith(f"it is {_LABEL}")
    with folder.database.reading() as session:
        assert damaged_count(session) == 1
        assert images.list_quarantine(session)[0].seen_at == 1.0


def test_a_mended_file_leaves_the_list_and_a_damaged_one_stays(folder: Folder) -> None:
    path, content = damage(folder)
    note_damage(folder.database, DamagedFileError(path.name), now=1.0)
    note_damage(folder.database, LostFileError(f"{'0' * 64}.nrrd"), now=1.0)
    path.write_bytes(content)
    sweep(WorkContext(folder.settings, folder.database, folder.files, "cpu"))
    assert [place for place, _ in listed(folder)] == [f"data folder: {'0' * 64}.nrrd"]
    assert forget_mended(folder.database, folder.files) == 0


def test_a_scan_of_the_studies_folder_leaves_the_list_alone(folder: Folder, tmp_path: Path) -> None:
    path, _ = damage(folder)
    note_damage(folder.database, DamagedFileError(path.name), now=1.0)
    add_studies(folder, tmp_path / "studies")
    assert f"data folder: {path.name}" in [place for place, _ in listed(folder)]
