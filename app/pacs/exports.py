"""Labels on their way to the DICOMweb server: asked for with the label, stored by a job.

A row is inserted in the transaction that keeps the label and changed only by the job and by
people who ask for another attempt, so no error on the way touches the label.
"""

from collections.abc import Sequence
from typing import Final, Literal

from sqlalchemy import Select, select, update
from sqlalchemy.orm import Session

from app import audit
from app.errors import ConflictError, NotFoundError
from app.pacs.retrieval import SOURCE
from app.settings import Settings
from app.store.tables import ExportRow, ImageRow, LabelRow

ExportStatus = Literal["waiting", "done", "failed", "dropped"]

_FIRST_PAUSE_S: Final = 60.0
"""Pause before the second attempt; each following one is twice as long."""

LONGEST_PAUSE_S: Final = 3600.0
"""Longest pause between two attempts."""

_MAX_DOUBLINGS: Final = 10
"""Doublings after which the pause surely is the longest one."""


def request_export(
    session: Session, settings: Settings, image: ImageRow, label: LabelRow, *, now: float
) -> None:
    """Ask for a final label to be stored, where it goes back to a DICOMweb server at all."""
    if settings.pacs_url is None or not settings.pacs_export or image.source != SOURCE:
        return
    session.add(
        ExportRow(
            label_id=label.id,
            status="waiting",
            attempts=0,
            refusals=0,
            next_at=now,
            problem="",
            seg_uid="",
            sr_uid="",
            ended_at=None,
        )
    )


def withhold_export(session: Session, label: LabelRow) -> None:
    """Keep a label here that came from the DICOMweb server: it is there already.

    Two deployments on one server would store each other's labels without end otherwise.
    """
    row = session.get(ExportRow, label.id)
    if row is not None:
        session.delete(row)


def list_exports(
    session: Session, *, status: str | None = None, limit: int
) -> Sequence[tuple[ExportRow, LabelRow]]:
    """Return exports with their labels, newest label first, perhaps of one status only."""
    wanted = select(ExportRow, LabelRow).join(LabelRow, LabelRow.id == ExportRow.label_id)
    if status is not None:
        wanted = wanted.where(ExportRow.status == status)
    rows = session.execute(wanted.order_by(ExportRow.label_id.desc()).limit(limit))
    return [(export, label) for export, label in rows]


def retry_export(
    session: Session, label_id: int, *, actor: str, now: float
) -> tuple[ExportRow, LabelRow]:
    """Make an export due now, whatever its last attempt said.

    Raises:
        NotFoundError: If there is none of this label.
        ConflictError: If it is stored already, or a newer label took its place.
    """
    row, label = session.get(ExportRow, label_id), session.get(LabelRow, label_id)
    if row is None or label is None:
        raise NotFoundError(f"label {label_id} is not to be exported")
    if row.status in ("done", "dropped"):
        raise ConflictError(f"the export of label {label_id} is {row.status} and stays so")
    row.status, row.next_at, row.ended_at = "waiting", now, None
    row.attempts = row.refusals = 0
    change = {"version": label.version, "problem": row.problem}
    audit.record(session, actor, "retry export", label.image_id, change, now=now)
    return row, label


def next_due(session: Session, *, now: float) -> ExportRow | None:
    """Return the export that has waited longest of those whose time has come, or None."""
    return session.scalars(_due(now).order_by(ExportRow.next_at, ExportRow.label_id)).first()


def postpone_due(session: Session, *, problem: str, now: float) -> None:
    """Let all that is due wait as well: the server does not answer anybody."""
    waiting = update(ExportRow).where(ExportRow.status == "waiting", ExportRow.next_at <= now)
    session.execute(waiting.values(next_at=now + _FIRST_PAUSE_S, problem=problem))


def pause_s(attempts: int) -> float:
    """Return the pause after so many attempts, in seconds."""
    doublings = min(max(attempts - 1, 0), _MAX_DOUBLINGS)
    return min(_FIRST_PAUSE_S * 2.0**doublings, LONGEST_PAUSE_S)


def _due(now: float) -> Select[ExportRow]:
    return select(ExportRow).where(ExportRow.status == "waiting", ExportRow.next_at <= now).limit(1)
