"""Files that are still being copied, and series that grow after they were labeled."""

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select

from app import images
from app.imaging.volume import Volume
from app.intake.folder_scan import ScanReport, scan_steps
from app.intake.stillness import Stillness, last_change
from app.store.tables import ImageRow
from tests.app.conftest import Deployment
from tests.app.pool import label_row
from tests.factories import edit_dicom, make_grid, make_volume, write_dicom

WAIT_S = 60.0

LATER_S = 3600.0


def scan(deployment: Deployment, stillness: Stillness, *, later_s: float = 0.0) -> ScanReport:
    """Scan ``later_s`` from now."""
    now = time.time() + later_s
    steps = scan_steps(
        deployment.database, deployment.settings, now=lambda: now, stillness=stillness
    )
    while True:
        try:
            next(steps)
        except StopIteration as end:
            report: ScanReport = end.value
            return report


def scan_at_once(deployment: Deployment) -> ScanReport:
    return images.scan_studies(deployment.database, deployment.settings, now=lambda: 1.0)


def rows(deployment: Deployment) -> list[ImageRow]:
    with deployment.database.reading() as session:
        return list(session.scalars(select(ImageRow).order_by(ImageRow.id)))


def problems(deployment: Deployment) -> list[str]:
    with deployment.database.reading() as session:
        return [row.problem for row in images.list_quarantine(session)]


@pytest.fixture
def whole() -> Volume:
    """Return a series of 12 slices."""
    return make_volume(make_grid((12, 6, 7)))


@pytest.fixture
def slices(tmp_path: Path, whole: Volume) -> list[Path]:
    """Return its files, outside of the studies folder."""
    return write_dicom(tmp_path / "aside", whole)


def copy(files: list[Path], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copy2(file, folder / file.name)


def label_part(deployment: Deployment, slices: list[Path]) -> ImageRow:
    """Register the first 7 slices and label them."""
    copy(slices[:7], deployment.studies / "series")
    scan_at_once(deployment)
    (row,) = rows(deployment)
    with deployment.database.writing() as session:
        session.add(label_row(row.id))
    return row


def test_half_of_a_series_is_no_image(deployment: Deployment, slices: list[Path]) -> None:
    copy(slices[:7], deployment.studies / "series")
    report = scan(deployment, Stillness(WAIT_S))
    assert (report.arriving, report.registered, report.quarantined) == (1, 0, 0)
    copy(slices[7:], deployment.studies / "series")
    report = scan(deployment, Stillness(WAIT_S), later_s=LATER_S)
    assert (report.arriving, report.registered) == (0, 1)
    assert rows(deployment)[0].shape["z"] == 12


def test_files_that_do_not_hold_still_are_not_quarantined_yet(deployment: Deployment) -> None:
    (deployment.studies / "half.nii").write_bytes(b"half")
    assert scan(deployment, Stillness(WAIT_S)).quarantined == 0
    assert scan(deployment, Stillness(WAIT_S), later_s=LATER_S).quarantined == 1


def test_a_copy_that_keeps_its_old_time_is_young(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.touch()
    now = time.time()
    os.utime(path, (1.0, 1.0))
    assert last_change([path], now=now + 10.0) == pytest.approx(now, abs=9.0)


def test_files_of_the_future_wait_from_when_they_were_met(
    deployment: Deployment, slices: list[Path]
) -> None:
    copy(slices, deployment.studies / "series")
    first = scan(deployment, Stillness(WAIT_S), later_s=-LATER_S)
    assert (first.arriving, len(first.met_at)) == (1, 1)
    (deployment.studies / "series" / slices[0].name).touch()
    # Another signature by now: it begins anew.
    touched = Stillness(WAIT_S, first.met_at)
    assert scan(deployment, touched, later_s=WAIT_S - LATER_S).arriving == 1
    again = scan(deployment, Stillness(WAIT_S), later_s=-LATER_S)
    assert scan(deployment, Stillness(WAIT_S, again.met_at), later_s=WAIT_S - LATER_S).registered


@pytest.mark.parametrize("folder", ["series", "other"])
def test_a_labeled_series_that_grows_goes_on_as_it_was(
    deployment: Deployment, slices: list[Path], whole: Volume, folder: str
) -> None:
    before = label_part(deployment, slices)
    copy(slices[7:], deployment.studies / folder)
    for _ in range(2):
        scan_at_once(deployment)
        (row,) = rows(deployment)
        assert (row.id, row.missing_since) == (before.id, None)
        opened = images.open_volume(deployment.settings, deployment.files, row)
        np.testing.assert_array_equal(opened.hu, whole.hu[:7])
        assert problems(deployment) == [
            f"the file changed after image {row.id} was labeled; "
            f"image {row.id} and its labels go on without the new files"
        ]
    for file in slices[7:]:
        (deployment.studies / folder / file.name).unlink()
    scan_at_once(deployment)
    assert (rows(deployment)[0].missing_since, problems(deployment)) == (None, [])


def test_a_labeled_series_outlives_a_damaged_slice_that_comes_later(
    deployment: Deployment, slices: list[Path]
) -> None:
    before = label_part(deployment, slices)
    copy(slices[7:8], deployment.studies / "series")
    edit_dicom(deployment.studies / "series" / slices[7].name, PixelSpacing=None)
    scan_at_once(deployment)
    assert rows(deployment)[0].missing_since is None
    (problem,) = problems(deployment)
    assert problem.endswith(f"; image {before.id} and its labels go on without the new files")


def test_says_that_labels_do_not_count_whose_files_changed(
    deployment: Deployment, slices: list[Path]
) -> None:
    before = label_part(deployment, slices)
    (deployment.studies / "series" / slices[6].name).unlink()
    scan_at_once(deployment)
    assert rows(deployment)[0].missing_since is not None
    (problem,) = problems(deployment)
    assert f"the labels of image {before.id} do not count now" in problem
    copy(slices[6:7], deployment.studies / "series")
    scan_at_once(deployment)
    assert (rows(deployment)[0].missing_since, problems(deployment)) == (None, [])


def test_a_series_without_labels_grows(deployment: Deployment, slices: list[Path]) -> None:
    copy(slices[:7], deployment.studies / "series")
    scan_at_once(deployment)
    copy(slices[7:], deployment.studies / "other")
    scan_at_once(deployment)
    (row,) = rows(deployment)
    assert (row.shape["z"], row.missing_since) == (12, None)
