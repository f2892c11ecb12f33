"""What a folder of studies holds: every image, and every file that only looks like one."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Final

from app.errors import ImagingError
from app.imaging.dicom.header import (
    START_BYTES,
    InstanceHeader,
    SliceHeader,
    is_dicom,
    read_instance,
)
from app.imaging.dicom.series import order_slices, series_grid
from app.imaging.dicom.volume import read_series
from app.imaging.itk_header import is_detached
from app.imaging.known_files import KnownFiles
from app.imaging.plausibility import MAX_VOXELS
from app.imaging.volume import Volume
from app.imaging.volume_file import (
    ImageKind,
    check_volume_file,
    file_kind,
    read_volume_file,
)

_DICOM_SUFFIXES: Final = (".dcm", ".dicom", ".ima")
"""Endings that promise DICOM, so that a file that is none is reported, not passed over."""

_INDEX_NAME: Final = "datastore_v2.json"
"""Index of a MONAI Label studies folder; the folder of labels lies beside it."""

_LABELS_FOLDER: Final = "labels"
"""Folder of a MONAI Label studies folder that holds labels, not images."""

_SEGMENTATION_SUFFIX: Final = ".seg.nrrd"
"""Ending of 3D Slicer segmentations, which are labels."""

_DICOMDIR_NAME: Final = "DICOMDIR"
"""Table of contents of a DICOM medium, itself no image."""

_NOT_UTF8: Final = "the name, or that of a folder above, is not UTF-8; rename it"
"""Problem of names that no row of a database and no answer can hold."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One image found in a folder, or a file that should have been one.

    Attributes:
        path: The file, or the folder that holds all files of the series.
        files: Files of the image; the slices of a sound series in the order of their position.
        kind: Format.
        series_uid: SeriesInstanceUID, or empty.
        problem: Why the image cannot be trusted, in one sentence; None if its header is sound.
    """

    path: Path
    files: tuple[Path, ...]
    kind: ImageKind
    series_uid: str = ""
    problem: str | None = None


Header = Finding | InstanceHeader | None
"""What one file says by its header; None where it is no image."""


def find_images(root: Path, known: KnownFiles[Header] | None = None) -> list[Finding]:
    """Look through a folder and everything below it; only headers are read.

    A series may be spread over several folders; a second copy of one is a problem of the copy.
    Hidden folders and the labels of a MONAI Label folder are passed over. Links to folders are
    followed, each folder is looked through once.

    Args:
        root: Folder to look through.
        known: What an earlier look through this folder found, brought up to date; the files that
            are as they were then are not opened.

    Returns:
        Findings in the order of their paths. Nothing that a file holds raises.
    """
    findings: list[Finding] = []
    instances: list[InstanceHeader] = []
    known = KnownFiles() if known is None else known
    for found in known.look_through(_files(root), partial(_look, alike={})):
        if isinstance(found, Finding):
            findings.append(found)
        elif found is not None:
            instances.append(found)
    findings += _series_findings(instances)
    return sorted(findings, key=lambda finding: (finding.path, finding.series_uid))


def read_finding(finding: Finding, *, max_voxels: int = MAX_VOXELS) -> Volume:
    """Read the volume of a finding; headers are checked again, files may have changed.

    Args:
        finding: What was found.
        max_voxels: Most voxels that are decoded.

    Raises:
        ImagingError: If the image cannot be trusted.
    """
    if finding.problem:
        raise ImagingError(finding.problem)
    if finding.kind != "dicom":
        return read_volume_file(finding.path, max_voxels=max_voxels)
    slices = _slices([read_instance(path) for path in finding.files])
    return read_series(slices, max_voxels=max_voxels)


def _files(root: Path) -> Iterator[Path]:
    """Yield candidates below a folder, then those behind links to folders, each folder once."""
    seen: set[Path] = set()
    waiting = [root]
    while waiting:
        for folder, subfolders, names in os.walk(waiting.pop(0)):
            here = Path(folder)
            if here.resolve() in seen:
                subfolders.clear()
                continue
            seen.add(here.resolve())
            if _LABELS_FOLDER in subfolders and (here == root or _INDEX_NAME in names):
                seen.add(here.joinpath(_LABELS_FOLDER).resolve())
                subfolders.remove(_LABELS_FOLDER)
            subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
            waiting += [here / name for name in subfolders if _leads_on(here / name, root)]
            yield from (here / name for name in sorted(names) if _is_candidate(name))


def _leads_on(folder: Path, root: Path) -> bool:
    """Tell whether a folder is a link, and none to a folder around the root."""
    return folder.is_symlink() and not root.resolve().is_relative_to(folder.resolve())


def _is_candidate(name: str) -> bool:
    if name.startswith("."):
        return name.startswith("._")
    return name not in (_INDEX_NAME, _DICOMDIR_NAME) and not name.endswith(_SEGMENTATION_SUFFIX)


def _look(path: Path, alike: dict[str, SliceHeader]) -> tuple[Header, bool]:
    """Read the header of a file, and tell whether the same file will always say the same.

    What could not be read may be a share's fault: it is looked at again, whatever its stamp.
    """
    start = _start(path)
    problem = _suspicious(path, start)
    kind = file_kind(path)
    if problem:
        return Finding(path, (path,), kind or "dicom", problem=problem), False
    if kind:
        finding = _file_finding(path, kind)
        return finding, finding.problem is None and not is_detached(path)
    if start and is_dicom(start):
        instance = read_instance(path)
        return _sharing(instance, alike), bool(instance.series_uid)
    if path.name.lower().endswith(_DICOM_SUFFIXES):
        return Finding(path, (path,), "dicom", problem="the file is not DICOM"), False
    return None, True


def _sharing(instance: InstanceHeader, alike: dict[str, SliceHeader]) -> InstanceHeader:
    """Return an instance that shares with others of its series what they all say.

    A folder may hold a million slices, and each is remembered.
    """
    if instance.slice is None:
        return instance
    like = alike.setdefault(instance.series_uid, instance.slice)
    names = [field.name for field in fields(SliceHeader)]
    same = {n: getattr(like, n) for n in names if getattr(like, n) == getattr(instance.slice, n)}
    header = replace(instance.slice, **same)
    return replace(
        instance, series_uid=header.identifiers.series_uid, sop_uid=header.sop_uid, slice=header
    )


def _suspicious(path: Path, start: bytes | None) -> str | None:
    """Say what is wrong with a file before anything in it is parsed."""
    if path.name.startswith("._"):
        return "a companion file of macOS, not an image"
    if start is None:
        return "the file cannot be opened"
    return None if start else "the file is empty"


def _start(path: Path) -> bytes | None:
    """Return the first bytes of a file, None where it cannot be opened."""
    try:
        # Opening a pipe would wait for ever.
        if not path.is_file():
            return None
        with path.open("rb") as stream:
            return stream.read(START_BYTES)
    except OSError:
        return None


def _is_utf8(path: Path) -> bool:
    try:
        os.fsencode(path).decode()
    except UnicodeDecodeError:
        return False
    return True


def _file_finding(path: Path, kind: ImageKind) -> Finding:
    # Before anything opens it: SimpleITK aborts the whole process on such a name.
    if not _is_utf8(path):
        return Finding(path, (path,), kind, problem=_NOT_UTF8)
    try:
        check_volume_file(path)
    except ImagingError as error:
        return Finding(path, (path,), kind, problem=str(error))
    return Finding(path, (path,), kind)


def _series_findings(instances: Sequence[InstanceHeader]) -> Iterator[Finding]:
    series: dict[str, list[InstanceHeader]] = {}
    for instance in instances:
        if instance.series_uid:
            series.setdefault(instance.series_uid, []).append(instance)
        else:
            yield Finding(instance.path, (instance.path,), "dicom", problem=instance.problem)
    for uid, members in series.items():
        whole, copies = _part_copies(members)
        yield _series_finding(uid, whole)
        for copy in copies:
            yield _finding(uid, copy, "a copy of a series that lies in another folder")


def _part_copies(
    instances: Sequence[InstanceHeader],
) -> tuple[list[InstanceHeader], list[list[InstanceHeader]]]:
    """Part folders that only repeat instances of earlier folders from the rest."""
    folders: dict[Path, list[InstanceHeader]] = {}
    for instance in instances:
        folders.setdefault(instance.path.parent, []).append(instance)
    whole: list[InstanceHeader] = []
    copies: list[list[InstanceHeader]] = []
    for members in folders.values():
        known = {instance.sop_uid for instance in whole}
        if whole and {instance.sop_uid for instance in members} <= known:
            copies.append(members)
        else:
            whole += members
    return whole, copies


def _series_finding(uid: str, instances: Sequence[InstanceHeader]) -> Finding:
    try:
        ordered = order_slices(_slices(instances))
        series_grid(ordered)
    except ImagingError as error:
        return _finding(uid, instances, str(error))
    files = tuple(header.path for header in ordered)
    folder = _common_folder(files)
    return Finding(folder, files, "dicom", uid, None if _is_utf8(folder) else _NOT_UTF8)


def _finding(uid: str, instances: Sequence[InstanceHeader], problem: str) -> Finding:
    files = tuple(instance.path for instance in instances)
    return Finding(_common_folder(files), files, "dicom", uid, problem)


def _slices(instances: Sequence[InstanceHeader]) -> list[SliceHeader]:
    """Return the slices of instances, or refuse them all for the first one that is none."""
    slices = []
    for instance in instances:
        if instance.slice is None:
            raise ImagingError(instance.problem or "the DICOM header cannot be read")
        slices.append(instance.slice)
    return slices


def _common_folder(files: Sequence[Path]) -> Path:
    return Path(os.path.commonpath([path.parent for path in files]))
