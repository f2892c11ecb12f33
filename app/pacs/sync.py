"""The DICOMweb server and the pool brought into agreement, one series a unit.

A series is retrieved once when it is registered: ranking needs the scores of every volume,
and a label may only meet content whose hash is known. Every series is a short transaction
of its own. A sync that was stopped, killed or cut off goes on with the next one; nothing is
marked as missing before the server has answered every question. One series that the server
fails to give keeps no other one away.
"""

import logging
from collections.abc import Generator, Iterable
from dataclasses import asdict, dataclass, field
from typing import Final, NamedTuple

from sqlalchemy import delete, select, update

from app import jobs, model_versions
from app.background.work import Progress, Units, WorkContext
from app.errors import CacheError, ImagingError, PacsDownError, PacsError
from app.imaging.dicom.dicomweb import DicomwebServer, RemoteSeries, dicomweb_server
from app.imaging.scan import find_images, read_finding
from app.imaging.volume import Volume
from app.intake.image_rows import measure_volume
from app.pacs import retrieval, status
from app.pacs.registration import register, signature_of
from app.pacs.segmentation_sync import take_segmentations
from app.store.tables import ImageRow, JobRow, QuarantineRow

logger = logging.getLogger(__name__)

_KEPT_JOBS: Final = 50
"""Ended syncs that people can still look at; one comes every minute."""

_RETRY_S: Final = 600.0
"""Pause before a series is retrieved again that the server did not give."""

_RELOOKS: Final = 10
"""Known series of which a look compares the instances, because their number tells little."""

_PREFIX: Final = f"{retrieval.SOURCE}/"
"""Start of the paths that series have on the quarantine list."""


@dataclass
class SyncReport:
    """What a sync did.

    Attributes:
        registered: Images that are new, came back or changed.
        quarantined: Series that cannot be trusted, those known before included.
        missing: Images whose series are gone from the server.
        unchanged: Images that were known.
        arriving: Series that grew while they were retrieved, left for the next sync.
        labels: Labels made of segmentations that others stored there.
    """

    registered: int = 0
    quarantined: int = 0
    missing: int = 0
    unchanged: int = 0
    arriving: int = 0
    labels: int = 0


class _Known(NamedTuple):
    """What a sync needs of a registered image."""

    signature: str
    is_missing: bool
    is_removed: bool


class _Suspect(NamedTuple):
    """What a sync needs of a series on the quarantine list; no signature: it was not given."""

    signature: str
    seen_at: float


@dataclass(frozen=True)
class _Sync:
    """One look at the server."""

    context: WorkContext
    server: DicomwebServer
    images: dict[str, _Known]
    quarantine: dict[str, _Suspect]
    report: SyncReport = field(default_factory=SyncReport)


def request_sync_if_due(context: WorkContext) -> list[str]:
    """Queue a look at the DICOMweb server, unless one is open or was asked for lately.

    Returns:
        Ids of the old syncs whose rows were deleted.
    """
    settings, now = context.settings, context.clock()
    if settings.pacs_url is None:
        return []
    with context.database.reading() as session:
        last = jobs.latest(session, "sync")
    if last is not None and now - last.created_at < settings.pacs_sync_seconds:
        return []
    with context.database.writing() as session:
        if jobs.running(session, "sync") is not None:
            return []
        jobs.request_job(session, "sync", {}, now=now)
        return jobs.forget_ended(session, "sync", keep=_KEPT_JOBS)


def sync(context: WorkContext, job: JobRow) -> Units:
    """Register what is new on the DICOMweb server, one series a unit.

    Raises:
        PacsError: If the server stops answering; what was registered until then stays.
    """
    del job
    yield Progress(0.0, "looking at the DICOMweb server")
    server = dicomweb_server(context.settings)
    looking = _start(context, server)
    with context.database.reading() as session:
        before = status.pacs_status(session, context.settings)
    try:
        yield from _steps(looking)
    except PacsError as error:
        with context.database.writing() as session:
            status.note_failure(session, context.settings, str(error), now=context.clock())
        raise
    with context.database.writing() as session:
        now = context.clock()
        status.note_answer(session, context.settings, now=now, is_complete=True)
        if jobs.running(session, "score") is None and status.is_hourly(before, now=now):
            # Scoring passes over images that could not be retrieved while the server was away.
            model_versions.request_pool_scoring(session, context.settings, now=now)
    return asdict(looking.report)


def _start(context: WorkContext, server: DicomwebServer) -> _Sync:
    wanted = select(
        ImageRow.id, ImageRow.signature, ImageRow.missing_since, ImageRow.removed_at
    ).where(ImageRow.source == retrieval.SOURCE)
    listed = select(QuarantineRow.path, QuarantineRow.signature, QuarantineRow.seen_at).where(
        QuarantineRow.path.startswith(_PREFIX)
    )
    with context.database.reading() as session:
        images = {
            row.id: _Known(row.signature, row.missing_since is not None, row.removed_at is not None)
            for row in session.execute(wanted)
        }
        quarantine = {
            row.path: _Suspect(row.signature, row.seen_at) for row in session.execute(listed)
        }
    return _Sync(context, server, images, quarantine)


def _steps(looking: _Sync) -> Generator[Progress, None, None]:
    found = looking.server.find_series(looking.context.settings.pacs_filter)
    with looking.context.database.writing() as session:
        status.note_answer(session, looking.context.settings, now=looking.context.clock())
    again = _to_look_at_again(looking, found)
    new = [one for one in found if _is_news(looking, one, is_compared=one.series_uid in again)]
    for done, series in enumerate(new):
        _take(looking, series)
        yield Progress((done + 1) / (len(new) + 1))
    _mark_missing(looking, {series.series_uid for series in found})
    _forget_healed(looking, found)
    for is_label in take_segmentations(looking.context, looking.server):
        looking.report.labels += is_label
        yield Progress(1.0)


def _to_look_at_again(looking: _Sync, found: Iterable[RemoteSeries]) -> set[str]:
    """Return the known series whose turn it is; after enough looks each had one."""
    uids = sorted({series.series_uid for series in found} & set(looking.images))
    if not uids:
        return set()
    turn = int(looking.context.clock() / looking.context.settings.pacs_sync_seconds)
    start = turn * _RELOOKS % len(uids)
    return set((uids + uids)[start : start + _RELOOKS])


def _has_other_instances(looking: _Sync, series: RemoteSeries) -> bool:
    """Tell whether a series holds other instances than its copy in the cache, if there is one."""
    cached = retrieval.cached_instances(looking.context.settings, series.series_uid)
    if not cached:
        return False
    try:
        listed = looking.server.find_instances(series.study_uid, series.series_uid)
    except PacsError as error:
        logger.warning("a known series was not compared: %s", error)
        return False
    return set(listed) != cached


def _is_news(looking: _Sync, series: RemoteSeries, *, is_compared: bool) -> bool:
    """Tell whether a series has to be looked at, and count it where not."""
    known, signature = looking.images.get(series.series_uid), signature_of(series)
    if known and known.is_removed:
        return False
    is_same = known is not None and known.signature == signature and not known.is_missing
    if is_same and is_compared and _has_other_instances(looking, series):
        return True
    if is_same:
        looking.report.unchanged += 1
        return False
    if _stays_in_quarantine(looking, series):
        looking.report.quarantined += 1
        return False
    return True


def _stays_in_quarantine(looking: _Sync, series: RemoteSeries) -> bool:
    suspect = looking.quarantine.get(_quarantine_path(series))
    if suspect is None:
        return False
    if not suspect.signature:
        # A time from the future is of before the clock was set back.
        return 0 <= looking.context.clock() - suspect.seen_at < _RETRY_S
    return suspect.signature == signature_of(series)


def _take(looking: _Sync, series: RemoteSeries) -> None:
    """Bring the pool into agreement with one series."""
    context = looking.context
    try:
        volume = _read(looking, series)
        if volume is None:
            looking.report.arriving += 1
            return
        measured = measure_volume(volume)
        with context.database.writing() as session:
            now = context.clock()
            looking.report.registered += register(session, series, measured, now=now)
            status.note_answer(session, context.settings, now=now)
    except ImagingError as error:
        retrieval.discard(context.settings, series.series_uid)
        _quarantine(looking, series, signature_of(series), str(error))
    except CacheError:
        # Nothing is wrong with the series, and no other one can be written either.
        raise
    except PacsError as error:
        if isinstance(error, PacsDownError):
            looking.server.check()
        # Without its signature it is tried again: a refusal may be a matter of permissions.
        _quarantine(looking, series, "", str(error))


def _read(looking: _Sync, series: RemoteSeries) -> Volume | None:
    """Retrieve and check a series; None while it is still arriving at the server.

    Half of a series can look like a sound volume, and would be labeled as one.
    """
    server = looking.server
    folder = retrieval.fetch(
        looking.context.settings, server, series.study_uid, series.series_uid, anew=True
    )
    findings = find_images(folder)
    count = sum(1 for _ in folder.iterdir())
    if len(server.find_instances(series.study_uid, series.series_uid)) != count:
        return None
    if len(findings) != 1:
        problems = [finding.problem for finding in findings if finding.problem]
        raise ImagingError(problems[0] if problems else "the series holds no CT slices")
    return read_finding(findings[0])


def _quarantine(looking: _Sync, series: RemoteSeries, signature: str, problem: str) -> None:
    context, uid = looking.context, series.series_uid
    known = looking.images.get(uid)
    with context.database.writing() as session:
        session.merge(
            QuarantineRow(
                path=_quarantine_path(series),
                signature=signature,
                problem=problem,
                seen_at=context.clock(),
            )
        )
        # An image whose series cannot be trusted any more must not be offered.
        if known is not None and not known.is_missing:
            gone = update(ImageRow).where(ImageRow.id == uid)
            session.execute(gone.values(missing_since=context.clock()))
    looking.report.quarantined += 1


def _mark_missing(looking: _Sync, present: set[str]) -> None:
    """Mark images whose series are gone, once the server has said so of each of them.

    A search in pages can pass over a series while others arrive. Images of a studies folder
    that this deployment had before cannot be opened any more either.
    """
    context = looking.context
    absent = [uid for uid, known in looking.images.items() if uid not in present]
    looking.report.missing = sum(not looking.images[uid].is_removed for uid in absent)
    fresh = [uid for uid in absent if not looking.images[uid].is_missing]
    gone = [uid for uid in fresh if not _is_there(looking, uid)]
    looking.report.missing -= len(fresh) - len(gone)
    is_gone = [ImageRow.id == uid for uid in gone] + [ImageRow.source == "studies"]
    with context.database.writing() as session:
        for condition in is_gone:
            change = update(ImageRow).where(ImageRow.missing_since.is_(None), condition)
            session.execute(change.values(missing_since=context.clock()))
    if gone:
        logger.info("%d images are gone from the DICOMweb server", len(gone))


def _is_there(looking: _Sync, series_uid: str) -> bool:
    filters = {**looking.context.settings.pacs_filter, "SeriesInstanceUID": series_uid}
    return series_uid in {series.series_uid for series in looking.server.find_series(filters)}


def _forget_healed(looking: _Sync, found: Iterable[RemoteSeries]) -> None:
    """Take series off the quarantine list that are gone or good."""
    with looking.context.database.writing() as session:
        good = set(
            session.scalars(
                select(ImageRow.id).where(
                    ImageRow.source == retrieval.SOURCE, ImageRow.missing_since.is_(None)
                )
            )
        )
        suspects = {_quarantine_path(series) for series in found if series.series_uid not in good}
        for path in set(looking.quarantine) - suspects:
            session.execute(delete(QuarantineRow).where(QuarantineRow.path == path))


def _quarantine_path(series: RemoteSeries) -> str:
    return f"{_PREFIX}{series.series_uid}"
