"""What is damaged is found, by the line that says what it is."""

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from app import images
from app.arrays import array_path, load_image
from app.errors import ConflictError, NotFoundError
from app.integrity.check import check_folder
from app.integrity.findings import Report
from app.settings import Settings
from tests.app.integrity.folder import Folder


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def execute(folder: Folder, statement: str) -> None:
    connection = sqlite3.connect(folder.settings.data / "caclabel.sqlite")
    with connection:
        connection.execute(statement)
    connection.close()


def lines(report: Report) -> list[str]:
    return [finding.line for finding in report.findings]


def test_a_sound_folder_has_no_findings_and_is_not_changed(folder: Folder) -> None:
    before = folder.contents()
    report = check_folder(folder.settings)
    assert lines(report) == []
    # Two versions with the bytes that were submitted, one upload, weights and card.
    assert report.counts == {"files": 7, "images": 1, "label versions": 2, "changes": 3}
    assert folder.contents() == before


@pytest.mark.parametrize(
    "owner",
    [
        "image case_1",
        "label final version 1 of image case_1",
        "label final version 2 of image case_1, as it was submitted",
        "weights of model version 1",
    ],
)
@pytest.mark.parametrize("change", [flip_a_byte, Path.unlink])
def test_a_changed_or_lost_file_is_named_with_what_it_is(
    folder: Folder, owner: str, change: Callable[[Path], None]
) -> None:
    path = folder.path_of(owner)
    change(path)
    report = check_folder(folder.settings)
    (line,) = lines(report)
    assert line.startswith(f"damaged: {path.relative_to(folder.settings.data)} ({owner}")
    assert line.endswith("put it back from a backup")
    assert not report.is_sound


def test_a_card_of_other_weights_is_damaged(folder: Folder) -> None:
    (card,) = folder.settings.data.glob("models/*.json")
    card.write_text('{"sha256": "00"}')
    (line,) = lines(check_folder(folder.settings))
    assert line.startswith(f"damaged: models/{card.name}: it does not describe the weights")


@pytest.mark.parametrize(
    ("statement", "place"),
    [
        ("DELETE FROM labels WHERE version = 1", "label final of image case_1: 1 of its 2"),
        ("UPDATE labels SET image_id = 'nobody' WHERE version = 2", "of labels: it names a row"),
        ("DROP TRIGGER audit_events_no_delete", "audit_events: nothing protects"),
        ("UPDATE labels SET sha256 = submitted_sha256", "version 1 of image case_1: the trail"),
    ],
)
def test_rows_that_do_not_fit_are_found(folder: Folder, statement: str, place: str) -> None:
    execute(folder, statement)
    assert any(place in line for line in lines(check_folder(folder.settings)))


def test_rows_taken_out_of_the_trail_are_missed(folder: Folder) -> None:
    execute(folder, "DROP TRIGGER audit_events_no_delete")
    execute(folder, "DELETE FROM audit_events WHERE id = 2")
    assert "damaged: audit_events: 1 of 3 rows are gone" in "\n".join(
        lines(check_folder(folder.settings))
    )


def test_old_files_without_a_row_are_a_note_and_young_ones_nothing(folder: Folder) -> None:
    folder.files.put(b"on its way", ".nrrd")
    assert lines(check_folder(folder.settings)) == []
    folder.age("files/**/*.nrrd")
    report = check_folder(folder.settings)
    (line,) = lines(report)
    assert line.startswith("note: files/")
    assert report.is_sound


def test_a_broken_database_is_told_and_not_raised(folder: Folder) -> None:
    path = folder.settings.data / "caclabel.sqlite"
    content = bytearray(path.read_bytes())
    # From the second page on: the header still says that it is a database.
    content[4096:] = bytes(len(content) - 4096)
    path.write_bytes(content)
    report = check_folder(folder.settings)
    assert not report.is_sound
    assert lines(report)[0].startswith("damaged: database: ")


def test_a_folder_without_a_database_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no database"):
        check_folder(Settings(data=tmp_path))


def test_a_database_of_an_older_version_is_refused(folder: Folder) -> None:
    execute(folder, "UPDATE alembic_version SET version_num = '0001'")
    with pytest.raises(ConflictError, match="start the server once"):
        check_folder(folder.settings)


def test_images_of_the_studies_folder_are_compared_with_what_they_showed(
    folder_with_studies: Folder,
) -> None:
    folder = folder_with_studies
    assert lines(check_folder(folder.settings)) == []
    studies = folder.settings.studies_folder
    assert studies is not None
    shutil.copy(studies / "case_2.nii.gz", studies / "case_1.nii.gz")
    (line,) = lines(check_folder(folder.settings))
    assert line.startswith("damaged: image case_1: the files of image case_1 changed")
    blind = folder.settings.model_copy(update={"studies": None})
    (line,) = lines(check_folder(blind))
    assert line.startswith("note: 2 images of the studies folder: their files were not looked at")


def test_an_array_that_shows_something_else_than_its_image_is_found(folder: Folder) -> None:
    with folder.database.reading() as session:
        row = images.get_image(session, "case_1")
    load_image(folder.settings, folder.files, row)
    assert lines(check_folder(folder.settings)) == []
    path = array_path(folder.settings, row)
    flip_a_byte(path)
    (line,) = lines(check_folder(folder.settings))
    assert line.startswith(f"damaged: cache/arrays/{path.name} (image case_1): it is not what")
    path.write_bytes(b"no array at all")
    assert not check_folder(folder.settings).is_sound
