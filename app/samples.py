"""The image to label next, with a lease that keeps it from others meanwhile.

Concurrency: an image has at most one open lease, which a unique index of the database
holds. SQLite has one writer at a time, so a choice is never taken away; elsewhere the loser
of a race chooses again.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Select, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.errors import InvalidInputError, NotFoundError
from app.intake.pool import labeled_ids
from app.intake.pool_mirror import Pool, fresh_pool, shared_pool
from app.settings import Settings
from app.store.tables import ImageRow, LabelRow, LeaseRow
from strategies.registry import DEFAULT_STRATEGY, get_strategy, strategy_names
from strategies.selection import Draw, draw_images, prepare

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
    leased = set(session.scalars(select(LeaseRow.image_id).where(LeaseRow.released_at.is_(None))))
    skipped = set(session.scalars(_skipped_by(client_id)))
    rng = np.random.default_rng([settings.seed, _leases_so_far(session)])
    lease = LeaseRow(
        strategy=strategy,
        client_id=client_id,
        served_at=now,
        expires_at=now + settings.lease_minutes * _SECONDS_PER_MINUTE,
        released_at=None,
        outcome="",
    )
    # The fresh pool is loaded only when the shared one has nothing: an answer of None is exact.
    for load in (shared_pool, fresh_pool):
        sample = _lease_best(session, load(session, leased, skipped), lease, rng)
        if sample is not None:
            return sample
    return None


def upcoming(
    session: Session, *, count: int, settings: Settings, now: float, strategy: str | None = None
) -> list[str]:
    """Tell which images would be assigned next, one after the other; nothing is leased.

    Args:
        session: Session to read with.
        count: How many to tell.
        settings: Settings of the deployment.
        now: Time of the request.
        strategy: Name of the strategy that ranks; None: the one that was asked for last.

    Returns:
        Ids of images, the next one first; fewer when less is left to label.
    """
    used = select(LeaseRow.strategy).order_by(LeaseRow.id.desc()).limit(1)
    name = strategy or session.scalars(used).first() or DEFAULT_STRATEGY
    is_held = LeaseRow.released_at.is_(None) & (LeaseRow.expires_at > now)
    taken = set(session.scalars(select(LeaseRow.image_id).where(is_held)))
    leases, chosen = _leases_so_far(session), list[str]()
    for number in range(leases, leases + count):
        rng = np.random.default_rng([settings.seed, number])
        pool = shared_pool(session, taken | set(chosen), ())
        free = (_free_image(session, image_id) for image_id in _ranked(pool, name, rng))
        best = next((image for image in free if image is not None), None)
        if best is None:
            break
        chosen.append(best.id)
    return chosen


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


def _skipped_by(client_id: str) -> Select[str]:
    return select(LeaseRow.image_id).where(
        LeaseRow.client_id == client_id, LeaseRow.outcome == "skipped"
    )


def _leases_so_far(session: Session) -> int:
    return session.scalar(select(func.max(LeaseRow.id))) or 0


def _lease_best(
    session: Session, pool: Pool, lease: LeaseRow, rng: np.random.Generator
) -> Sample | None:
    """Lease the best candidate that still is one."""
    if not len(pool.candidates):
        return None
    for draw in _draws(pool, lease.strategy, rng):
        image = _free_image(session, pool.image_id(draw.index))
        lease.is_random = draw.is_random
        if image is not None and _try_lease(session, image, lease):
            return Sample(image, draw.utility, lease)
    return None


def _ranked(pool: Pool, strategy: str, rng: np.random.Generator) -> Iterator[str]:
    """Return the ids of the best candidates as ``_lease_best`` tries them."""
    if not len(pool.candidates):
        return iter(())
    return (pool.image_id(draw.index) for draw in _draws(pool, strategy, rng))


def _draws(pool: Pool, name: str, rng: np.random.Generator) -> Iterator[Draw]:
    """Draw candidates, the one to serve first."""
    strategy = get_strategy(name)
    ranked = prepare(strategy, pool.candidates, strategy.read_options())
    is_open = np.ones(len(pool.candidates), dtype=np.bool_)
    return draw_images(ranked, is_open, (), rng.random(_ATTEMPTS).tolist(), rng)


def _free_image(session: Session, image_id: str) -> ImageRow | None:
    """Return an image unless it is gone or labeled by now."""
    labeled = labeled_ids().where(LabelRow.image_id == image_id)
    free = select(ImageRow).where(
        ImageRow.id == image_id, ImageRow.missing_since.is_(None), ~labeled.exists()
    )
    return session.scalars(free).first()


def _try_lease(session: Session, image: ImageRow, lease: LeaseRow) -> bool:
    """Lease an image; False when another client has just got it."""
    lease.image_id = image.id
    try:
        with session.begin_nested():
            session.add(lease)
    except IntegrityError:
        return False
    return True
