"""The trail of changes: who did what to which thing, when, and what it was before and after.

Rows are only ever added: the database refuses to change or remove one. A change that has a
before and an after says so under these names.
"""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.identity import acting
from app.store.tables import AuditRow, Json


def record(
    session: Session, actor: str, action: str, subject: str, change: Json, *, now: float
) -> None:
    """Add a change to the trail, in the transaction that makes it.

    Args:
        session: Open transaction.
        actor: Who says to have done it. Who had to log in did it instead, whatever a client
            says; the name that it gave is kept beside.
        action: What was done, in a few words.
        subject: Name of the thing.
        change: What is different now; JSON without passwords, keys or pixel data.
        now: Time of the change.
    """
    identity = acting()
    if identity is not None:
        claimed = {} if actor in ("", identity.name) else {"claimed_name": actor}
        actor, change = identity.name, {**change, **claimed, "means": identity.means}
    session.add(AuditRow(at=now, actor=actor, action=action, subject=subject, change=change))


def recent(
    session: Session,
    limit: int = 100,
    *,
    before_id: int | None = None,
    actor: str | None = None,
    subject: str | None = None,
) -> Sequence[AuditRow]:
    """Return changes, newest first.

    Args:
        session: Open session.
        limit: How many at most.
        before_id: Only those older than the one with this number, for the next page.
        actor: Only those of this user.
        subject: Only those of this thing.
    """
    wanted = select(AuditRow).order_by(AuditRow.id.desc()).limit(limit)
    if before_id is not None:
        wanted = wanted.where(AuditRow.id < before_id)
    if actor is not None:
        wanted = wanted.where(AuditRow.actor == actor)
    if subject is not None:
        wanted = wanted.where(AuditRow.subject == subject)
    return session.scalars(wanted).all()
