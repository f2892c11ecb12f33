"""The studies folder and the pool brought into agreement.

Every image is a short transaction of its own: volumes are decoded outside of it, so other
writers wait for milliseconds. A scan that was stopped or killed goes on with the next one,
because what it registered is known by path and signature.
"""

import errno
import logging
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from app.errors import ImagingError, NotFoundError
from app.imaging.known_files import KnownFiles
from app.imaging.scan import Finding, Header, find_images, read_finding
from app.imaging.volume import Volume
from app.intake import image_rows, monailabel_folder
from app.intake.identifiers import (
    IMAGE_EXTENSIONS,
    distinct_id,
    printable,
    safe_id,
    split_extension,
)
from app.intake.image_rows import Origin
from app.intake.row_changes import has_labels, reattach, replace
from app.intake.stillness import AT_ONCE, Stillness, last_change
from app.integrity.damage import is_stored_file
from app.settings import Settings
from app.store.database import Database
from app.store.files import FileStore, file_sha256
from app.store.tables import ImageRow, QuarantineRow

logger = logging.getLogger(__name__)


@dataclass
class ScanReport:
    """What a scan of the studies folder did.

    Attributes:
        registered: Images that are new or came back.
        quarantined: Files and folders that cannot be trusted, those known before included.
        doubtful: Those of them that may be good at another look: the disk or the share did not
            give them, or their header was refused for the first time.
        missing: Images whose files are gone.
        unchanged: Images that were known.
        arriving: Images whose files have not held still for long enough, left for the next scan.
        labels: Labels imported from a MONAI Label folder.
        met_at: When the signatures of files with times of the future were met first.
    """

    registered: int = 0
    quarantined: int = 0
    doubtful: int = 0
    missing: int = 0
    unchanged: int = 0
    arriving: int = 0
    labels: int = 0
    met_at: dict[str, float] = field(default_factory=dict)


class _Known(NamedTuple):
    """What a rescan needs of a registered image."""

    id: str
    signature: str
    is_missing: bool
    is_removed: bool


class _Refused(NamedTuple):
    """What is known of an entry of the quarantine list."""

    signature: str
    problem: str


_Place = tuple[str, str]
"""Path relative to the studies folder, and the series."""


@dataclass(frozen=True)
class _Scan:
    """One walk through the studies folder."""

    database: Database
    settings: Settings
    root: Path
    now: Callable[[], float]
    images: dict[_Place, _Known]
    quarantine: dict[str, _Refused]
    stillness: Stillness
    report: ScanReport = field(default_factory=ScanReport)
    suspects: set[str] = field(default_factory=set)


def scan_steps(
    database: Database,
    settings: Settings,
    *,
    now: Callable[[], float],
    stillness: Stillness = AT_ONCE,
    headers: KnownFiles[Header] | None = None,
) -> Generator[float, None, ScanReport]:
    """Scan the studies folder; yields the progress, 0 to 1, after each image.

    New images are registered, files that cannot be trusted are put on the quarantine list
    with their reason, images without files are marked as missing and marked back when their
    files return, under whatever name. The labels of a MONAI Label folder are imported.

    Args:
        database: The application database.
        settings: Settings of the deployment.
        now: Seconds since the epoch.
        stillness: How long files must have been left alone; by default none is waited for.
        headers: What an earlier scan read, brought up to date; without, every header is read.
    """
    root = settings.studies_folder
    if root is None or not root.is_dir():
        return ScanReport()
    findings = find_images(root, headers)
    scan = _start(database, settings, root, now, stillness)
    _follow_series(scan, findings)
    _mark_missing(scan, findings)
    for done, finding in enumerate(findings):
        _take(scan, finding)
        yield (done + 1) / (len(findings) + 1)
    labels = monailabel_folder.import_labels(
        database, FileStore(settings.files), settings, root, now=now
    )
    scan.report.labels = labels.imported
    scan.report.quarantined += len(labels.problems)
    _forget_healed(scan, labels.problems)
    return scan.report


def _start(
    database: Database,
    settings: Settings,
    root: Path,
    now: Callable[[], float],
    stillness: Stillness,
) -> _Scan:
    wanted = select(
        ImageRow.path,
        ImageRow.series_uid,
        ImageRow.id,
        ImageRow.signature,
        ImageRow.missing_since,
        ImageRow.removed_at,
        ImageRow.kind,
    ).where(ImageRow.source == "studies")
    with database.reading() as session:
        images = {
            (row.path, row.series_uid if row.kind == "dicom" else ""): _Known(
                row.id, row.signature, row.missing_since is not None, row.removed_at is not None
            )
            for row in session.execute(wanted)
        }
        listed = session.scalars(select(QuarantineRow).where(~is_stored_file()))
        quarantine = {row.path: _Refused(row.signature, row.problem) for row in listed}
    return _Scan(database, settings, root, now, images, quarantine, stillness)


def _follow_series(scan: _Scan, findings: list[Finding]) -> None:
    """Know a series again to whose files others came in another folder."""
    present = {_place(scan, finding) for finding in findings}
    shown = {uid for place in present & scan.images.keys() for uid in place[1:]}
    gone = {place[1]: place for place in scan.images if place[1] and place not in present}
    # Copies are findings with a problem; they come last.
    for finding in sorted(findings, key=lambda finding: finding.problem is not None):
        place = gone.get(finding.series_uid)
        if place and finding.series_uid not in shown and _has_its_files(scan, scan.images[place]):
            scan.images[_place(scan, finding)] = scan.images.pop(gone.pop(finding.series_uid))


def _mark_missing(scan: _Scan, findings: list[Finding]) -> None:
    """Mark images whose files are gone, before a renamed one is looked at."""
    present = {_place(scan, finding) for finding in findings}
    gone = [known for place, known in scan.images.items() if place not in present]
    scan.report.missing = sum(not known.is_removed for known in gone)
    fresh = [known.id for known in gone if not known.is_missing]
    if not fresh:
        return
    with scan.database.writing() as session:
        for image_id in fresh:
            change = update(ImageRow).where(ImageRow.id == image_id)
            session.execute(change.values(missing_since=scan.now()))
    logger.info("%d images are gone from the studies folder", len(fresh))


def _take(scan: _Scan, finding: Finding) -> None:
    """Bring the pool into agreement with one finding."""
    try:
        signature = image_rows.signature_of(finding.files, scan.root)
    except NotFoundError:
        scan.suspects.add(_quarantine_path(scan, finding))
        return  # Gone since the folder was listed; the next scan sees it.
    known = scan.images.get(_place(scan, finding))
    if known and (known.is_removed or known.signature == signature):
        _take_known(scan, known)
        return
    if _is_arriving(scan, finding, signature):
        return
    refused = scan.quarantine.get(_quarantine_path(scan, finding))
    if finding.problem:
        # Told by every scan anew, so it needs no signature to be looked at again.
        scan.report.doubtful += refused is None or not _opens(finding)
        _quarantine(scan, finding, _Refused("", finding.problem))
        return
    if refused and refused.signature == signature and _is_settled(scan, known):
        scan.report.quarantined += 1
        scan.suspects.add(_quarantine_path(scan, finding))
        return
    try:
        scan.report.registered += _register(scan, finding, signature, read_finding(finding))
    except ImagingError as error:
        is_doubtful = _is_from_disk(error) or not _opens(finding)
        scan.report.doubtful += is_doubtful
        # Without its signature it is tried again: what a share refuses now it may give later.
        _quarantine(scan, finding, _Refused("" if is_doubtful else signature, str(error)))


def _is_arriving(scan: _Scan, finding: Finding, signature: str) -> bool:
    """Tell whether files may still be written, and count them then."""
    if not scan.stillness.seconds:
        return False
    now = scan.now()
    try:
        changed_at = last_change(finding.files, now=now)
    except OSError:
        changed_at = now  # One has gone since: the others do not hold still either.
    if changed_at > now:
        changed_at = scan.stillness.met_at.get(signature, now)
        scan.report.met_at[signature] = changed_at
    if now - changed_at >= scan.stillness.seconds:
        return False
    scan.report.arriving += 1
    scan.suspects.add(_quarantine_path(scan, finding))
    return True


def _is_settled(scan: _Scan, known: _Known | None) -> bool:
    """Tell whether what was refused once needs no other look for the sake of its image."""
    return known is None or known.is_missing or _has_its_files(scan, known)


def _has_its_files(scan: _Scan, known: _Known) -> bool:
    with scan.database.reading() as session:
        return image_rows.has_its_files(scan.settings, session.get_one(ImageRow, known.id))


def _take_known(scan: _Scan, known: _Known) -> None:
    """Count an image whose files are as they were, and take one back that was missing."""
    if known.is_removed:
        return
    scan.report.unchanged += not known.is_missing
    scan.report.registered += known.is_missing
    if known.is_missing:
        back = update(ImageRow).where(ImageRow.id == known.id, ImageRow.removed_at.is_(None))
        with scan.database.writing() as session:
            session.execute(back.values(missing_since=None))


def _register(scan: _Scan, finding: Finding, signature: str, volume: Volume) -> bool:
    """Make a volume an image, or find the one it is; False when that was removed."""
    path, series_uid = _place(scan, finding)
    extension = image_rows.served_extension(finding)
    is_one_file = finding.kind != "dicom" and finding.path.name.lower().endswith(extension)
    digest = file_sha256(finding.path) if is_one_file else ""
    origin = Origin("studies", finding.kind, path, signature, extension, digest)
    measured = image_rows.measure_volume(volume)
    content = measured.content_sha256
    image_rows.remember_files(scan.settings, finding, signature)
    with scan.database.writing() as session:
        known = scan.images.get((path, series_uid))
        before = session.get(ImageRow, known.id) if known else _lost_twin(session, content)
        if before is not None and before.content_sha256 == content:
            reattach(session, before, measured, origin)
        elif before is not None:
            refusal = f"the file changed after image {before.id} was labeled"
            replace(session, before, measured, origin, refusal=refusal, now=scan.now())
        else:
            stem, _ = split_extension(finding.path.name, IMAGE_EXTENSIONS)
            image_id = _free_id(session, finding.series_uid or stem, path, content)
            # The name of a folder is not kept: it often is the patient's.
            info = {} if finding.kind == "dicom" else {"name": finding.path.name}
            session.add(image_rows.image_row(image_id, measured, origin, info, now=scan.now()))
    return before is None or before.removed_at is None


def _lost_twin(session: Session, content: str) -> ImageRow | None:
    """Find the missing image that a file shows under a new name.

    Its labels come with it, and one that was removed stays away.
    """
    wanted = select(ImageRow).where(
        ImageRow.content_sha256 == content,
        ImageRow.missing_since.is_not(None),
        ImageRow.source == "studies",
    )
    by_worth = wanted.order_by(ImageRow.removed_at.is_not(None), ImageRow.id)
    return session.scalars(by_worth.limit(1)).first()


def _free_id(session: Session, stem: str, path: str, content: str) -> str:
    image_id = safe_id(stem, path)
    taken = session.get(ImageRow, image_id)
    if taken is None:
        return image_id
    if taken.content_sha256 == content:
        raise ImagingError(f"a copy of image {image_id}")
    return distinct_id(stem, path)


def _is_from_disk(error: ImagingError) -> bool:
    """Tell whether the disk or the share failed, rather than what it gave being wrong."""
    cause = error.__cause__ or error.__context__
    # Decompressors raise OSError, too, for what they read; then without a number.
    return isinstance(cause, OSError) and cause.errno not in (None, errno.ENOENT)


def _opens(finding: Finding) -> bool:
    try:
        # Opening a pipe would wait for ever.
        for file in filter(Path.is_file, finding.files):
            with file.open("rb") as stream:
                stream.read(1)
    except OSError:
        return False
    return True


def _quarantine(scan: _Scan, finding: Finding, refused: _Refused) -> None:
    path, known = _quarantine_path(scan, finding), scan.images.get(_place(scan, finding))
    scan.report.quarantined += 1
    scan.suspects.add(path)
    problem, is_offered = _told(scan, known, refused.problem)
    refused = refused._replace(problem=problem)
    is_turned = known is not None and known.is_missing == is_offered
    if scan.quarantine.get(path) == refused and not is_turned:
        return
    row = QuarantineRow(path=path, **refused._asdict(), seen_at=scan.now())
    with scan.database.writing() as session:
        session.merge(row)
        if known is not None and is_turned:
            change = update(ImageRow).where(ImageRow.id == known.id, ImageRow.removed_at.is_(None))
            session.execute(change.values(missing_since=None if is_offered else scan.now()))


def _told(scan: _Scan, known: _Known | None, problem: str) -> tuple[str, bool]:
    """Say what a problem means for the image of before, and whether that is offered on.

    An image whose file was damaged must not be offered any more. A labeled series to which
    more files came goes on with those that were labeled: a label never stops to count unsaid.
    """
    with scan.database.reading() as session:
        is_labeled = known is not None and has_labels(session, known.id)
    if known is None or not is_labeled:
        return problem, False
    if _has_its_files(scan, known):
        return f"{problem}; image {known.id} and its labels go on without the new files", True
    advice = "put the old file back, and add the new one under another name"
    return f"{problem}; the labels of image {known.id} do not count now: {advice}", False


def _forget_healed(scan: _Scan, problems: list[str]) -> None:
    """Take files off the quarantine list that are gone or good."""
    healed = set(scan.quarantine) - scan.suspects - set(problems)
    if healed:
        with scan.database.writing() as session:
            for path in healed:
                session.execute(delete(QuarantineRow).where(QuarantineRow.path == path))


def _place(scan: _Scan, finding: Finding) -> _Place:
    return finding.path.relative_to(scan.root).as_posix(), finding.series_uid


def _quarantine_path(scan: _Scan, finding: Finding) -> str:
    path, series_uid = _place(scan, finding)
    return printable(f"{path} (series {series_uid})" if series_uid else path)
