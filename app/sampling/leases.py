"""Leases: until when a sample lies with a client, and how long was worked on it.

The time from serving to submitting is added up over the client's requests about the image.
A pause longer than the idle cut-off is nobody's work and is left out; so is one that is
negative because a clock was set back.
"""

from typing import Final

from sqlalchemy import Select, bindparam, func, select, update
from sqlalchemy.orm import Session

from app.settings import Settings
from app.store.tables import LeaseRow

SECONDS_PER_MINUTE: Final = 60.0
"""Leases and pauses are set in minutes."""

# Built once: building a statement takes longer than running it.
_EXPIRED: Final = (
    update(LeaseRow)
    .where(LeaseRow.released_at.is_(None), LeaseRow.expires_at <= bindparam("now"))
    .values(released_at=bindparam("now"), outcome="expired")
    .execution_options(synchronize_session=False)
)

_LAST: Final = select(func.max(LeaseRow.id))

_NOTE_EVERY_S: Final = 5.0
"""A client that asks more often is noted no more often."""


def is_worth_noting(session: Session, image_id: str, *, now: float) -> bool:
    """Tell, by reading alone, whether ``note_activity`` would change anything that matters."""
    lease = session.scalars(_open_lease(image_id)).first()
    return lease is not None and not 0 <= now - _seen_at(lease) < _NOTE_EVERY_S


def note_activity(
    session: Session, image_id: str, client_id: str | None, settings: Settings, *, now: float
) -> bool:
    """Note that the client who has an image works on it, and keep it for the client longer.

    Args:
        session: Open transaction that may write.
        image_id: The image.
        client_id: Who asked about it; None if that was not said: then it is taken for the
            one client who has the image.
        settings: Settings of the deployment.
        now: Time of the request.

    Returns:
        Whether the image lies with that client.
    """
    lease = session.scalars(_open_lease(image_id)).first()
    if lease is None or client_id not in (None, lease.client_id):
        return False
    lease.active_seconds = worked_seconds(lease, settings, now)
    lease.seen_at = now
    kept = now + settings.lease_minutes * SECONDS_PER_MINUTE
    lease.expires_at = max(lease.expires_at, kept) if client_id else lease.expires_at
    session.flush()
    return True


def end_by_label(
    session: Session, image_id: str, annotator: str, settings: Settings, *, now: float
) -> float | None:
    """End the open lease of an image that was labeled, and return how long was worked on it.

    A lease that expired before its client was done counts, too.

    Returns:
        Seconds; None if the annotator had no lease of the image, or only paused.
    """
    newest = select(LeaseRow).where(LeaseRow.image_id == image_id)
    lease = session.scalars(newest.order_by(LeaseRow.id.desc()).limit(1)).first()
    if lease is None or (lease.released_at is not None and lease.outcome != "expired"):
        return None
    is_annotators = lease.client_id == annotator
    if is_annotators or lease.released_at is None:
        lease.active_seconds = worked_seconds(lease, settings, now) if is_annotators else 0.0
        lease.released_at, lease.outcome = now, "submitted"
        session.flush()
    return (lease.active_seconds or None) if is_annotators else None


def release_expired(session: Session, *, now: float) -> None:
    """End every lease whose time is over."""
    session.execute(_EXPIRED, {"now": now})


def leases_so_far(session: Session) -> int:
    """Return the number of the last lease."""
    return session.scalar(_LAST) or 0


def worked_seconds(lease: LeaseRow, settings: Settings, now: float) -> float:
    """Return how long was worked under a lease, if its client works on it now."""
    pause = now - _seen_at(lease)
    longest = settings.idle_minutes * SECONDS_PER_MINUTE
    return lease.active_seconds + (pause if 0 <= pause <= longest else 0.0)


def _seen_at(lease: LeaseRow) -> float:
    return lease.served_at if lease.seen_at is None else lease.seen_at


def _open_lease(image_id: str) -> Select[LeaseRow]:
    return select(LeaseRow).where(LeaseRow.image_id == image_id, LeaseRow.released_at.is_(None))
