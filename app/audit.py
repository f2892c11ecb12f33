"""The trail of changes: who did what to which thing, and when."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.store.tables import AuditRow, Json


def record(
    session: Session, actor: str, action: str, subject: str, change: Json, *, now: float
) -> None:
    """Add a change to the trail, in the transaction that makes it."""
    session.add(AuditRow(at=now, actor=actor, action=action, subject=subject, change=change))


def recent(session: Session, limit: int = 100) -> Sequence[AuditRow]:
    """Return the last changes, newest first."""
    return session.scalars(select(AuditRow).order_by(AuditRow.id.desc()).limit(limit)).all()
