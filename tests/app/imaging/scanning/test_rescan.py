"""A look at a known folder finds what a first look would find, and opens little for it."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app.imaging.known_files import KnownFiles
from app.imaging.scan import Header, find_images
from app.imaging.volume_writer import write_volume
from tests.clock import Clock
from tests.factories import edit_dicom, make_grid, make_volume, write_dicom, write_itk
from tests.opened_files import opened_below

Known = KnownFiles[Header]

GROWN = make_volume(make_grid((6, 6, 7)))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with some of everything, and what comes to it later beside it."""
    folder = tmp_path_factory.mktemp("template")
    root = folder / "studies"
    for name, seed in (("m", 1), ("spread", 2), ("twin", 3), ("foreign", 4)):
        write_dicom(root / name, make_volume(make_grid((4, 6, 7)), seed=seed))
    (root / "spread" / "more").mkdir()
    (root / "spread" / "0004.dcm").rename(root / "spread" / "more" / "0004.dcm")
    shutil.copytree(root / "twin", root / "twin-copy")
    edit_dicom(root / "foreign" / "0002.dcm", Modality="MR")
    for number, path in enumerate(write_dicom(folder / "later", GROWN)):
        if number < 4:
            (root / "grows").mkdir(exist_ok=True)
            path.rename(root / "grows" / path.name)
    for name in ("plain.nii", "packed.nii.gz", "linked-to.nrrd"):
        write_volume(root / name, make_volume())
    for name in ("whole.mha", "apart.mhd"):
        write_itk(root / name, make_volume().hu, make_grid())
    (root / "short.nii").write_bytes(b"short")
    (root / "text.dcm").write_text("not DICOM")
    (root / "README").write_text("about")
    (root / "empty.nii").touch()
    (root / "link.nrrd").symlink_to("linked-to.nrrd")
    return folder


@pytest.fixture
def folder(template: Path, tmp_path: Path) -> Path:
    """Return a copy of it that a test may change."""
    return Path(shutil.copytree(template, tmp_path / "copy", symlinks=True))


@pytest.fixture
def clock() -> Clock:
    # Every file that tests write is an hour old.
    return Clock(time.time() + 3600.0)


@pytest.fixture
def known(clock: Clock) -> Known:
    return KnownFiles(clock)


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    shutil.copy2(source, target)


def move(source: Path, target: Path) -> None:
    target.parent.mkdir()
    source.rename(target)


def keep_time(path: Path, change: Callable[[Path], object]) -> None:
    """Change a file, and put its size and its time back as some copying programs do."""
    before = path.stat()
    change(path)
    assert path.stat().st_size == before.st_size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def point_elsewhere(link: Path, target: str) -> None:
    link.unlink()
    link.symlink_to(target)


def turn_into_a_folder(path: Path) -> None:
    path.unlink()
    write_dicom(path, make_volume(seed=9))


CHANGES: dict[str, Callable[[Path], object]] = {
    "a slice is added": lambda r: copy(r.parent / "later/0005.dcm", r / "grows/0005.dcm"),
    "slices are added with a gap": lambda r: copy(r.parent / "later/0006.dcm", r / "grows/6.dcm"),
    "a slice is half copied": lambda r: (r / "grows/0005.dcm").write_bytes(
        (r.parent / "later/0005.dcm").read_bytes()[:-40]
    ),
    "a slice is copied up to its header": lambda r: (r / "grows/0005.dcm").write_bytes(
        (r.parent / "later/0005.dcm").read_bytes()[:300]
    ),
    "a slice comes in another folder": lambda r: copy(
        r.parent / "later/0005.dcm", r / "else/0005.dcm"
    ),
    "a slice is removed": lambda r: (r / "m/0004.dcm").unlink(),
    "a slice within is removed": lambda r: (r / "m/0002.dcm").unlink(),
    "a slice is edited": lambda r: edit_dicom(r / "m/0002.dcm", PixelSpacing=[0.7, 0.5]),
    "a slice is edited and its time put back": lambda r: keep_time(
        r / "m/0002.dcm", lambda path: edit_dicom(path, Modality="MR")
    ),
    "a slice is mended": lambda r: edit_dicom(r / "foreign/0002.dcm", Modality="CT"),
    "slices change places": lambda r: (
        (r / "m/0001.dcm").rename(r / "m/x"),
        (r / "m/0002.dcm").rename(r / "m/0001.dcm"),
        (r / "m/x").rename(r / "m/0002.dcm"),
    ),
    "a slice is emptied": lambda r: os.truncate(r / "m/0002.dcm", 0),
    "a slice is replaced by one of another series": lambda r: (r / "twin/0002.dcm").replace(
        r / "m/0002.dcm"
    ),
    "a series is gathered": lambda r: (r / "spread/more/0004.dcm").rename(r / "spread/0004.dcm"),
    "a series is spread": lambda r: move(r / "m/0003.dcm", r / "n/0003.dcm"),
    "a series is copied": lambda r: shutil.copytree(r / "m", r / "n"),
    "a series is copied to a folder before it": lambda r: shutil.copytree(r / "m", r / "a"),
    "the first of two copies is removed": lambda r: shutil.rmtree(r / "twin"),
    "a series is moved": lambda r: (r / "m").rename(r / "a"),
    "a series is moved into another": lambda r: (r / "m").rename(r / "spread" / "m"),
    "a series is removed": lambda r: shutil.rmtree(r / "m"),
    "the folder of a series is no UTF-8": lambda r: (r / "m").rename(r / os.fsdecode(b"M\xfc")),
    "a file is renamed": lambda r: (r / "plain.nii").rename(r / "other.nii"),
    "the name of a file is no UTF-8": lambda r: (r / "plain.nii").rename(
        r / os.fsdecode(b"\xff.nii")
    ),
    "a file gets an ending that it is not": lambda r: (r / "plain.nii").rename(r / "plain.nrrd"),
    "a file is removed": lambda r: (r / "packed.nii.gz").unlink(),
    "a file is damaged": lambda r: (r / "packed.nii.gz").write_bytes(b"\x1f\x8b\x08\x00garbage"),
    "a file is damaged and its time put back": lambda r: keep_time(
        r / "plain.nii", lambda path: path.write_bytes(bytes(path.stat().st_size))
    ),
    "a file is mended": lambda r: write_volume(r / "short.nii", make_volume()),
    "a file is filled": lambda r: write_volume(r / "empty.nii", make_volume()),
    "a file becomes a folder": lambda r: turn_into_a_folder(r / "plain.nii"),
    "what was no image becomes one": lambda r: copy(r.parent / "later/0005.dcm", r / "README"),
    "the voxels of a header are removed": lambda r: (r / "apart.raw").unlink(),
    "a link leads elsewhere": lambda r: point_elsewhere(r / "link.nrrd", "short.nii"),
    "a link leads nowhere": lambda r: (r / "linked-to.nrrd").unlink(),
    "a folder is linked": lambda r: (r / "linked").symlink_to(r.parent / "later"),
    "a refused file is removed": lambda r: (r / "text.dcm").unlink(),
    "a folder is hidden": lambda r: (r / "m").rename(r / ".m"),
    "an image becomes a label": lambda r: move(r / "plain.nii", r / "labels/plain.nii"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_rescan_finds_what_a_first_scan_would(
    folder: Path, known: Known, change: Callable[[Path], object]
) -> None:
    root = folder / "studies"
    before = find_images(root, known)
    change(root)
    after = find_images(root, known)
    assert after != before
    assert after == find_images(root)


def test_a_rescan_opens_nothing_that_is_as_it_was(folder: Path, known: Known) -> None:
    root = folder / "studies"
    find_images(root, known)
    with opened_below(root) as opened:
        find_images(root, known)
    # What could not be read, or says something of another file, is looked at each time.
    assert opened == {"short.nii", "text.dcm", "empty.nii", "apart.mhd"}


def test_a_rescan_opens_what_is_new_and_what_changed(folder: Path, known: Known) -> None:
    root = folder / "studies" / "grows"
    find_images(root, known)
    copy(folder / "later" / "0005.dcm", root / "0005.dcm")
    edit_dicom(root / "0001.dcm", KVP=100)
    with opened_below(root) as opened:
        find_images(root, known)
    assert opened == {"0001.dcm", "0005.dcm"}


def test_files_that_were_gone_are_forgotten(folder: Path, known: Known) -> None:
    root = folder / "studies"
    find_images(root, known)
    # Moving a folder leaves no trace at the files in it.
    for source, target in ((root / "m", folder / "m"), (folder / "m", root / "m")):
        source.rename(target)
        with opened_below(root / "m") as opened:
            find_images(root, known)
    assert len(opened) == 4


@pytest.mark.parametrize(("age_s", "is_opened"), [(2.9, True), (3.1, False)])
def test_a_file_that_just_changed_is_not_remembered(
    tmp_path: Path, clock: Clock, known: Known, age_s: float, *, is_opened: bool
) -> None:
    path = tmp_path / "case.nii"
    write_volume(path, make_volume())
    clock.now = path.stat().st_ctime + age_s
    find_images(tmp_path, known)
    with opened_below(tmp_path) as opened:
        find_images(tmp_path, known)
    assert (path.name in opened) == is_opened
