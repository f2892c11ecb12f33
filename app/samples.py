"""The image to label next, with a lease that keeps it from others meanwhile.

Concurrency: an image has at most one open lease, which a unique index of the database
holds. SQLite has one writer at a time, so a choice is never taken away; elsewhere the loser
of a race chooses again.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.errors import InvalidInputError, NotFoundError
from app.intake.candidates import Pool, load_pool
from app.settings import Settings
from app.store.tables import ImageRow, LeaseRow
from strategies.registry import get_strategy, strategy_names
from strategies.selection import select_top

_SECONDS_PER_MINUTE = 60.0
"""Leases are set in minutes."""

_ATTEMPTS = 16
"""Races that may be lost before giving up; each loser has another image to choose next."""


@dataclass(frozen=True)
class Sample:
    """An image offered to an annotator.

    Attributes:
        image: The image.
        utility: What the strategy gave it; higher = label sooner.
        lease: Until when it is kept for the client.
    """

    image: ImageRow
    utility: float
    lease: LeaseRow


def assign_next(
    session: Session,
    *,
    strategy: str,
    client_id: str,
    options: Mapping[str, object],
    settings: Settings,
    now: float,
) -> Sample | None:
    """Choose the image a client should label next and lease it.

    Candidates are the images without a final label and without an open lease. What the
    client has skipped is offered to it again only when nothing else is left.

    Args:
        session: Open transaction that may write.
        strategy: Name of the strategy that ranks.
        client_id: Who asks; two clients may share it and still get different images.
        options: ``skip``: id of an image whose lease the client gives back unlabeled.
        settings: Settings of the deployment.
        now: Time of the request.

    Returns:
        The sample, or None when nothing is left to label.

    Raises:
        NotFoundError: If there is no such strategy.
    """
    if strategy not in strategy_names():
        known = ", ".join(strategy_names())
        raise NotFoundError(f"no strategy {strategy[:60]!r}; known: {known}")
    release_expired(session, now=now)
    _skip(session, options.get("skip"), client_id=client_id, now=now)
    pool = _without_skipped(session, load_pool(session), client_id)
    if not pool.image_ids:
        return None
    rng = np.random.default_rng([settings.seed, _leases_so_far(session)])
    utilities = get_strategy(strategy)(pool.candidates, rng)
    for place in select_top(utilities, _ATTEMPTS, rng):
        lease = _try_lease(
            session,
            LeaseRow(
                image_id=pool.image_ids[place],
                strategy=strategy,
                client_id=client_id,
                served_at=now,
                expires_at=now + settings.lease_minutes * _SECONDS_PER_MINUTE,
                released_at=None,
                outcome="",
            ),
        )
        if lease is not None:
            image = session.get_one(ImageRow, lease.image_id)
            return Sample(image, float(utilities[place]), lease)
    return None


def release(session: Session, image_id: str, outcome: str, *, now: float) -> bool:
    """End the open lease of an image; False when it has none."""
    open_lease = select(LeaseRow).where(
        LeaseRow.image_id == image_id, LeaseRow.released_at.is_(None)
    )
    lease = session.scalars(open_lease).first()
    if lease is None:
        return False
    lease.released_at, lease.outcome = now, outcome
    session.flush()
    return True


def release_expired(session: Session, *, now: float) -> None:
    """End every lease whose time is over."""
    expired = update(LeaseRow).where(LeaseRow.released_at.is_(None), LeaseRow.expires_at <= now)
    session.execute(expired.values(released_at=now, outcome="expired"))


def _skip(session: Session, skipped: object, *, client_id: str, now: float) -> None:
    """Give back an image the client holds; another client's lease stays."""
    if skipped is None:
        return
    if not isinstance(skipped, str):
        raise InvalidInputError("expected as skip the id of an image")
    held = update(LeaseRow).where(
        LeaseRow.image_id == skipped,
        LeaseRow.client_id == client_id,
        LeaseRow.released_at.is_(None),
    )
    session.execute(held.values(released_at=now, outcome="skipped"))


def _without_skipped(session: Session, pool: Pool, client_id: str) -> Pool:
    """Leave out what the client has skipped, unless that is all there is."""
    skipped = select(LeaseRow.image_id).where(
        LeaseRow.client_id == client_id, LeaseRow.outcome == "skipped"
    )
    unwanted = set(session.scalars(skipped))
    if not unwanted:
        return pool
    is_wanted = np.array([image_id not in unwanted for image_id in pool.image_ids], dtype=np.bool_)
    return pool.subset(np.flatnonzero(is_wanted)) if is_wanted.any() else pool


def _leases_so_far(session: Session) -> int:
    return session.scalar(select(func.max(LeaseRow.id))) or 0


def _try_lease(session: Session, lease: LeaseRow) -> LeaseRow | None:
    try:
        with session.begin_nested():
            session.add(lease)
    except IntegrityError:
        return None
    return lease
