import csv
from pathlib import Path

import pytest

from server.cli import main
from tests.server.conftest import Site


@pytest.fixture
def labeled(pool: Site) -> Site:
    """A running site with a labeled and an unlabeled image."""
    pool.submit("case_1", params='{"client_id": "dr-a"}')
    pool.submit("case_1", params='{"client_id": "dr-b"}')
    return pool


def export(site: Site, out: Path, *options: str) -> int:
    data = str(site.services.settings.data)
    return main(["export", str(out), "--data", data, *options])


@pytest.mark.parametrize(
    ("form", "files"),
    [
        ("monailabel", {"case_1.nii.gz", "labels/final/case_1.nrrd", "datastore_v2.json"}),
        ("nifti", {"images/case_1.nii.gz", "labels/case_1.nii.gz", "labels/case_1.json"}),
        ("csv", {"scores.csv"}),
        ("dicom-seg", set()),
    ],
)
def test_every_format_writes_its_files(
    labeled: Site, tmp_path: Path, form: str, files: set[str]
) -> None:
    out = tmp_path / "out"
    assert export(labeled, out, "--format", form) == 0
    assert {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()} == files


def test_a_table_says_what_was_written(
    labeled: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export(labeled, tmp_path / "a", "--format", "csv")
    # A row for each of the two versions; the unlabeled image has none.
    assert capsys.readouterr().out == "     2  written\n"
    with (tmp_path / "a/scores.csv").open(newline="", encoding="utf-8-sig") as file:
        assert [row["annotator"] for row in csv.DictReader(file)] == ["dr-a", "dr-b"]
    export(labeled, tmp_path / "b", "--format", "dicom-seg")
    assert capsys.readouterr().out == "     1  left out, no DICOM series\n"
    export(labeled, tmp_path / "c", "--format", "nifti", "--tag", "version_1")
    assert capsys.readouterr().out == "no label with this tag\n"


def test_a_folder_with_files_is_only_added_to(
    labeled: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(labeled, tmp_path / "out", "--format", "nifti") == 0
    assert export(labeled, tmp_path / "out", "--format", "nifti") == 2
    assert "--add" in capsys.readouterr().err
    assert export(labeled, tmp_path / "out", "--format", "nifti", "--add") == 0
    assert capsys.readouterr().out.splitlines() == ["     1  unchanged"]
    labeled.submit("case_1", params='{"client_id": "dr-c"}')
    assert export(labeled, tmp_path / "out", "--format", "nifti", "--add") == 1
    assert "exists with other content" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--format", "nifti", "--with-patient-ids"], "--with-patient-ids is for monailabel and"),
        (["--format", "nifti", "--tag", "../x"], "expected as tag"),
    ],
)
def test_wrong_options_are_refused(
    labeled: Site,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    problem: str,
) -> None:
    assert export(labeled, tmp_path / "out", *options) == 2
    assert problem in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_data_folder_without_database_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(tmp_path / "nothing")
    assert main(["export", str(tmp_path / "out"), "--format", "csv", "--data", data]) == 2
    assert capsys.readouterr().err.startswith("caclabel: there is no database in")
    assert not (tmp_path / "nothing").exists()
