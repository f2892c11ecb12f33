"""How the DICOMweb server is doing, for the people who look after the deployment."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.imaging.dicom.dicomweb import public_url
from app.settings import Settings
from app.store.tables import ExportRow, PacsRow

_HOUR_S: Final = 3600.0


@dataclass(frozen=True)
class PacsStatus:
    """A DICOMweb server as it was found last, times in seconds since the epoch.

    Attributes:
        url: Its address, without user name and password.
        is_reachable: Whether it answered the last time it was asked.
        reached_at: When it answered last, or None.
        failed_at: When it began not to answer, or None.
        problem: What was wrong then; empty while it answers.
        synced_at: When all its series were looked at last, or None.
        exports_waiting: Labels that still have to be stored there.
        exports_failed: Labels that it refused.
    """

    url: str
    is_reachable: bool
    reached_at: float | None
    failed_at: float | None
    problem: str
    synced_at: float | None
    exports_waiting: int
    exports_failed: int


def note_answer(
    session: Session, settings: Settings, *, now: float, is_complete: bool = False
) -> None:
    """Note that the server answered; ``is_complete``: all its series have been looked at."""
    row = _row(session, settings)
    row.reached_at, row.failed_at, row.problem = now, None, ""
    if is_complete:
        row.synced_at = now


def note_failure(session: Session, settings: Settings, problem: str, *, now: float) -> None:
    """Note that the server did not answer; the beginning of an outage is kept."""
    row = _row(session, settings)
    row.failed_at, row.problem = row.failed_at or now, problem


def pacs_status(session: Session, settings: Settings) -> PacsStatus | None:
    """Return how the DICOMweb server is doing, None in a deployment without one."""
    if settings.pacs_url is None:
        return None
    url = public_url(settings.pacs_url)
    row = session.get(PacsRow, url) or PacsRow(url=url, problem="it was not asked yet")
    return PacsStatus(
        url=url,
        is_reachable=row.reached_at is not None and row.failed_at is None,
        reached_at=row.reached_at,
        failed_at=row.failed_at,
        problem=row.problem,
        synced_at=row.synced_at,
        exports_waiting=_exports(session, "waiting"),
        exports_failed=_exports(session, "failed"),
    )


def is_hourly(before: PacsStatus | None, *, now: float) -> bool:
    """Tell whether a look is the first one in its hour, or the first after an outage.

    Args:
        before: What was known before the look.
        now: Time of the look.
    """
    if before is None or before.synced_at is None or before.failed_at is not None:
        return True
    return before.synced_at // _HOUR_S != now // _HOUR_S


def _exports(session: Session, status: str) -> int:
    count = select(func.count()).select_from(ExportRow).where(ExportRow.status == status)
    return session.scalar(count) or 0


def _row(session: Session, settings: Settings) -> PacsRow:
    url = public_url(settings.pacs_url or "")
    row = session.get(PacsRow, url)
    if row is None:
        row = PacsRow(url=url, problem="")
        session.add(row)
    return row
