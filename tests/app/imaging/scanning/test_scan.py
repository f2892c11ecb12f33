"""What a folder of studies holds, sound and unsound."""

import os
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from app.errors import ImagingError
from app.imaging.reader import read_volume
from app.imaging.scan import Finding, find_images, read_finding
from app.imaging.volume_writer import write_volume
from tests.factories import edit_dicom, make_grid, make_volume, write_dicom


def by_name(findings: list[Finding]) -> dict[str, str | None]:
    return {finding.path.name: finding.problem for finding in findings}


def test_an_empty_folder_holds_nothing(tmp_path: Path) -> None:
    assert find_images(tmp_path) == []


def test_images_of_every_kind_are_found_at_every_depth(tmp_path: Path) -> None:
    write_dicom(tmp_path / "a" / "b" / "series")
    for name in ("x.nii", "x.nii.gz", "y.nrrd"):
        (tmp_path / "c").mkdir(exist_ok=True)
        write_volume(tmp_path / "c" / name, make_volume())
    findings = find_images(tmp_path)
    assert [finding.kind for finding in findings] == ["dicom", "nifti", "nifti", "nrrd"]
    assert all(finding.problem is None for finding in findings)
    for finding in findings:
        np.testing.assert_array_equal(read_finding(finding).hu, make_volume().hu)


def test_several_series_in_one_folder_are_several_images(tmp_path: Path) -> None:
    for seed in (1, 2):
        write_dicom(tmp_path / str(seed), make_volume(seed=seed))
        for path in (tmp_path / str(seed)).iterdir():
            path.rename(tmp_path / f"{seed}-{path.name}")
        (tmp_path / str(seed)).rmdir()
    findings = find_images(tmp_path)
    assert [finding.path for finding in findings] == [tmp_path, tmp_path]
    assert len({finding.series_uid for finding in findings}) == 2
    assert {int(read_finding(finding).hu[0, 0, 0]) for finding in findings} == {
        int(make_volume(seed=seed).hu[0, 0, 0]) for seed in (1, 2)
    }


def test_several_series_are_refused_where_one_was_asked_for(tmp_path: Path) -> None:
    write_dicom(tmp_path / "a", make_volume(seed=1))
    write_dicom(tmp_path / "b", make_volume(seed=2))
    with pytest.raises(ImagingError, match="expected one CT series in the folder, got 2"):
        read_volume(tmp_path)


def test_a_series_spread_over_folders_is_one_image(tmp_path: Path) -> None:
    paths = write_dicom(tmp_path / "disc" / "0")
    (tmp_path / "disc" / "1").mkdir()
    for path in paths[3:]:
        path.rename(tmp_path / "disc" / "1" / path.name)
    (finding,) = find_images(tmp_path)
    assert finding.path == tmp_path / "disc"
    assert read_finding(finding).hu.shape == (5, 6, 7)


def test_a_copy_of_a_series_is_a_problem_of_the_copy(tmp_path: Path) -> None:
    write_dicom(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    original, copy = find_images(tmp_path)
    assert original.problem is None
    assert copy.problem == "a copy of a series that lies in another folder"


def test_files_come_in_the_order_of_their_position(tmp_path: Path) -> None:
    paths = write_dicom(tmp_path, make_volume(make_grid(directions=np.diag([1.0, 1.0, -1.0]))))
    (finding,) = find_images(tmp_path)
    assert list(finding.files) == paths[::-1]


def test_one_broken_file_does_not_stop_the_others(tmp_path: Path) -> None:
    write_dicom(tmp_path / "good")
    (tmp_path / "bad.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 40)
    (tmp_path / "bad.nii.gz").write_bytes(b"\x1f\x8b\x08\x00garbage")
    (tmp_path / "bad.nii").write_bytes(b"short")
    (tmp_path / "bad.nrrd").write_text("NRRD0004\nnothing\n\n")
    (tmp_path / "bad.mha").write_text("ObjectType = Image\n")
    (tmp_path / "text.dcm").write_text("not DICOM, only named so")
    problems = by_name(find_images(tmp_path))
    assert problems.pop("good") is None
    assert len(problems) == 6
    assert all(problems.values())


def test_companion_and_empty_files_are_reported(tmp_path: Path) -> None:
    (tmp_path / "._ct.nii.gz").write_bytes(b"\0\x05\x16\x07")
    (tmp_path / "empty.nii").touch()
    (tmp_path / "IM0001").touch()
    assert by_name(find_images(tmp_path)) == {
        "._ct.nii.gz": "a companion file of macOS, not an image",
        "empty.nii": "the file is empty",
        "IM0001": "the file is empty",
    }


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
@pytest.mark.parametrize("ending", ["", ".dcm"])
def test_dicom_without_preamble_and_meta_information_is_read(
    syntax: UID, ending: str, tmp_path: Path
) -> None:
    for number, path in enumerate(write_dicom(tmp_path)):
        dataset = pydicom.dcmread(path)
        path.unlink()
        bare = pydicom.Dataset(dict(dataset))
        bare.save_as(
            tmp_path / f"IM{number}{ending}", implicit_vr=syntax.is_implicit_VR, little_endian=True
        )
    (finding,) = find_images(tmp_path)
    assert finding.problem is None
    np.testing.assert_array_equal(read_finding(finding).hu, make_volume().hu)


def test_meta_information_without_preamble_is_read(tmp_path: Path) -> None:
    for path in write_dicom(tmp_path):
        path.write_bytes(path.read_bytes()[132:])
        path.rename(path.with_suffix(""))
    np.testing.assert_array_equal(read_volume(tmp_path).hu, make_volume().hu)


@pytest.mark.parametrize("start", [b"\x08\x00\x05\x00CS", b"\x08\x00\x16\x00\x1a\x00\x00\x00"])
def test_what_starts_like_dicom_and_is_none_is_reported(start: bytes, tmp_path: Path) -> None:
    (tmp_path / "IM0001").write_bytes(start + b"\xff" * 200)
    (finding,) = find_images(tmp_path)
    assert finding.problem


@pytest.mark.parametrize(
    "start", [b"\x09\x00\x05\x00CS", b"\x08\x00\x05\x00\xff\xff\xff\xff", b"\x08\x00"]
)
def test_what_does_not_start_like_dicom_is_passed_over(start: bytes, tmp_path: Path) -> None:
    (tmp_path / "table").write_bytes(start.ljust(200, b"\1"))
    assert find_images(tmp_path) == []


def test_folders_behind_links_are_searched(tmp_path: Path) -> None:
    write_dicom(tmp_path / "archive" / "series")
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "link").symlink_to(tmp_path / "archive")
    (finding,) = find_images(tmp_path / "studies")
    assert finding.path == tmp_path / "studies" / "link" / "series"
    assert finding.problem is None


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_volume(tmp_path / name / f"{name}.nii", make_volume())
    (tmp_path / "a" / "to-b").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "to-a").symlink_to(tmp_path / "a")
    found = [finding.path for finding in find_images(tmp_path / "a")]
    assert found == [tmp_path / "a" / "a.nii", tmp_path / "a" / "to-b" / "b.nii"]


def test_a_link_within_the_folder_finds_nothing_twice(tmp_path: Path) -> None:
    write_dicom(tmp_path / "z" / "series")
    (tmp_path / "a").symlink_to(tmp_path / "z")
    (tmp_path / "up").symlink_to(tmp_path.parent)
    (finding,) = find_images(tmp_path)
    assert finding.path == tmp_path / "z" / "series"
    assert finding.problem is None


def test_folders_behind_several_links_are_searched_once(tmp_path: Path) -> None:
    write_dicom(tmp_path / "archive" / "inner" / "series")
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "1").symlink_to(tmp_path / "archive" / "inner")
    (tmp_path / "studies" / "2").symlink_to(tmp_path / "archive")
    (finding,) = find_images(tmp_path / "studies")
    assert finding.path == tmp_path / "studies" / "1" / "series"


def test_a_link_to_the_labels_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    write_volume(tmp_path / "labels" / "case.nii.gz", make_volume())
    (tmp_path / "final").symlink_to(tmp_path / "labels")
    assert find_images(tmp_path) == []


def test_a_link_to_a_hidden_folder_is_followed(tmp_path: Path) -> None:
    (tmp_path / "studies" / ".store").mkdir(parents=True)
    write_volume(tmp_path / "studies" / ".store" / "x.nii", make_volume())
    (tmp_path / "studies" / "shown").symlink_to(tmp_path / "studies" / ".store")
    assert by_name(find_images(tmp_path / "studies")) == {"x.nii": None}


def test_a_dangling_link_is_reported(tmp_path: Path) -> None:
    (tmp_path / "x.nii.gz").symlink_to(tmp_path / "absent")
    assert by_name(find_images(tmp_path)) == {"x.nii.gz": "the file cannot be opened"}


def test_a_pipe_is_reported_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.nii")
    assert by_name(find_images(tmp_path)) == {"x.nii": "the file cannot be opened"}


def test_other_files_and_hidden_folders_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "README").write_text("about")
    (tmp_path / "table.csv").write_text("a,b")
    (tmp_path / ".lock").touch()
    (tmp_path / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    write_dicom(tmp_path / ".cache")
    assert find_images(tmp_path) == []


def test_labels_and_index_of_a_monai_label_folder_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "labels" / "final").mkdir(parents=True)
    write_volume(tmp_path / "labels" / "final" / "case.nii.gz", make_volume())
    write_volume(tmp_path / "case.nii.gz", make_volume())
    (tmp_path / "case.seg.nrrd").write_text("NRRD0004\n")
    (tmp_path / "datastore_v2.json").write_text("{}")
    assert by_name(find_images(tmp_path)) == {"case.nii.gz": None}


def test_labels_beside_images_are_passed_over_without_an_index(tmp_path: Path) -> None:
    (tmp_path / "labels" / "final").mkdir(parents=True)
    write_volume(tmp_path / "labels" / "final" / "case.nii.gz", make_volume())
    assert find_images(tmp_path) == []


def test_a_folder_called_labels_further_down_is_searched(tmp_path: Path) -> None:
    (tmp_path / "study" / "labels").mkdir(parents=True)
    write_volume(tmp_path / "study" / "labels" / "case.nii.gz", make_volume())
    assert by_name(find_images(tmp_path)) == {"case.nii.gz": None}


def test_a_finding_is_read_in_the_order_of_positions_whatever_its_own(tmp_path: Path) -> None:
    paths = write_dicom(tmp_path)
    finding = Finding(tmp_path, tuple(paths[::-1]), "dicom")
    np.testing.assert_array_equal(read_finding(finding).hu, make_volume().hu)


def test_a_refused_finding_cannot_be_read(tmp_path: Path) -> None:
    finding = Finding(tmp_path, (), "dicom", problem="gantry tilt")
    with pytest.raises(ImagingError, match="gantry tilt"):
        read_finding(finding)


def test_files_that_changed_since_the_scan_are_checked_again(tmp_path: Path) -> None:
    paths = write_dicom(tmp_path)
    (finding,) = find_images(tmp_path)
    edit_dicom(paths[1], PixelSpacing=["nan", "nan"])
    with pytest.raises(ImagingError, match="PixelSpacing"):
        read_finding(finding)


def test_an_absent_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImagingError, match="does not exist"):
        read_volume(tmp_path / "absent.nii")


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ct.png").write_bytes(b"\x89PNG")
    with pytest.raises(ImagingError, match="expected an image as DICOM, NIfTI"):
        read_volume(tmp_path / "ct.png")
