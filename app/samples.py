"""The image to label next, with a lease that keeps it from others meanwhile.

Concurrency: an image has at most one open lease, which a unique index of the database
holds. SQLite has one writer at a time, so a choice is never taken away; elsewhere the loser
of a race chooses again.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from sqlalchemy import bindparam, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app import audit
from app.calcium.table import doubt_by_head
from app.errors import InvalidInputError, NotFoundError
from app.intake.pool import labeled_ids
from app.intake.pool_mirror import Pool
from app.intake.shared_pool import fresh_pool, is_ranked, shared_pool
from app.prediction_keys import prediction_key
from app.sampling.leases import SECONDS_PER_MINUTE, leases_so_far, release_expired
from app.sampling.ranking import ranking_of, read_options
from app.settings import Settings
from app.store.database import Database
from app.store.tables import ImageRow, Json, LabelRow, LeaseRow, PredictionRow
from strategies.base import Options
from strategies.registry import DEFAULT_STRATEGY, get_strategy, strategy_names
from strategies.selection import Draw, draw_images

logger = logging.getLogger(__name__)

# Built once: building a statement takes longer than running it.
_LEASED: Final = select(LeaseRow.image_id).where(LeaseRow.released_at.is_(None))

_SKIPPED: Final = select(LeaseRow.image_id).where(
    LeaseRow.client_id == bindparam("client"), LeaseRow.outcome == "skipped"
)

_FREE: Final = select(ImageRow).where(
    ImageRow.id == bindparam("image"),
    ImageRow.missing_since.is_(None),
    ~labeled_ids().where(LabelRow.image_id == bindparam("image")).exists(),
)

_ANY_LEFT: Final = (
    select(ImageRow.id)
    .where(
        ImageRow.missing_since.is_(None),
        ~labeled_ids().where(LabelRow.image_id == ImageRow.id).exists(),
        ~_LEASED.where(LeaseRow.image_id == ImageRow.id).exists(),
    )
    .limit(1)
)

_SHARES: Final = select(PredictionRow.lesion_share, PredictionRow.region_share).where(
    PredictionRow.id == bindparam("prediction")
)

_ATTEMPTS: Final = 16
"""Races that may be lost before giving up; each loser has another image to choose next."""


@dataclass(frozen=True)
class Sample:
    """An image offered to an annotator.

    Attributes:
        image: The image.
        utility: What the strategy gave it; higher = label sooner; 0 where it was drawn at random.
        lease: Until when it is kept for the client, and how it was drawn.
        coverage: Share of the images to label that the active model version has scored.
        is_fallback: Whether it was drawn at random because too few are.
        doubt: Which label of the image would help most, as in the table of its prediction;
            None where the active version has not scored it, or has no doubt.
    """

    image: ImageRow
    utility: float
    lease: LeaseRow
    coverage: float
    is_fallback: bool
    doubt: Json | None


def next_sample(
    database: Database,
    *,
    strategy: str,
    client_id: str,
    options: Mapping[str, object],
    settings: Settings,
    now: float,
) -> Sample | None:
    """Do ``assign_next`` in a transaction, with the pool ranked before it begins."""
    with database.reading() as session:
        rank_ahead(session, settings, strategy=strategy, options=options)
    with database.writing() as session:
        return assign_next(
            session,
            strategy=strategy,
            client_id=client_id,
            options=options,
            settings=settings,
            now=now,
        )


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
    client has skipped is offered to it again only when nothing else is left, and so is a
    patient of whom an image was labeled or leased since the active model version answers.

    Args:
        session: Open transaction that may write.
        strategy: Name of the strategy that ranks.
        client_id: Who asks; two clients may share it and still get different images.
        options: ``skip``: id of an image whose lease the client gives back unlabeled; and the
            options of the strategy, as numbers.
        settings: Settings of the deployment.
        now: Time of the request.

    Returns:
        The sample, or None when nothing is left to label.

    Raises:
        NotFoundError: If there is no such strategy.
        InvalidInputError: If an option is unknown or not allowed.
    """
    if strategy not in strategy_names():
        known = ", ".join(strategy_names())
        raise NotFoundError(f"no strategy {strategy[:60]!r}; known: {known}")
    chosen = read_options(strategy, _numbers(options))
    release_expired(session, now=now)
    _skip(session, options.get("skip"), client_id=client_id, now=now)
    leased = set(session.scalars(_LEASED))
    skipped = set(session.scalars(_SKIPPED, {"client": client_id}))
    rng = np.random.default_rng([settings.seed, leases_so_far(session)])
    lease = LeaseRow(
        strategy=strategy,
        client_id=client_id,
        served_at=now,
        expires_at=now + settings.lease_minutes * SECONDS_PER_MINUTE,
        released_at=None,
        outcome="",
    )
    key = prediction_key(settings)
    sample = _lease_best(session, shared_pool(session, key, leased, skipped), lease, chosen, rng)
    if sample is None and session.scalar(_ANY_LEFT) is not None:
        # Only this session sees it: an answer of None is exact.
        pool = fresh_pool(session, key, leased, skipped)
        sample = _lease_best(session, pool, lease, chosen, rng)
    if sample is not None:
        _record(session, sample, now=now)
    return sample


def rank_ahead(
    session: Session, settings: Settings, *, strategy: str, options: Mapping[str, object]
) -> None:
    """Rank the pool by a strategy unless that is done, with a session that only reads.

    After a start or a promotion that takes a second with 100 000 images, during which
    ``assign_next`` would hold back whoever writes.
    """
    key = prediction_key(settings)
    if strategy not in strategy_names() or is_ranked(session, key, strategy):
        return
    pool = shared_pool(session, key)
    if not get_strategy(strategy).follows_service and pool.is_open.any():
        ranking_of(session, pool, strategy, read_options(strategy, _numbers(options)))


def upcoming(
    session: Session, *, count: int, settings: Settings, now: float, strategy: str | None = None
) -> list[str]:
    """Tell which images would be assigned next, one after the other; nothing is leased.

    Args:
        session: Session to read with.
        count: How many to tell.
        settings: Settings of the deployment.
        now: Time of the request.
        strategy: Name of the strategy that ranks, with the options it has by itself; None: the
            one that was asked for last.

    Returns:
        Ids of images, the next one first; fewer when less is left to label.
    """
    used = select(LeaseRow.strategy).order_by(LeaseRow.id.desc()).limit(1)
    name = strategy or session.scalars(used).first() or DEFAULT_STRATEGY
    is_held = LeaseRow.released_at.is_(None) & (LeaseRow.expires_at > now)
    taken = set(session.scalars(select(LeaseRow.image_id).where(is_held)))
    leases, chosen = leases_so_far(session), list[str]()
    for number in range(leases, leases + count):
        rng = np.random.default_rng([settings.seed, number])
        pool = shared_pool(session, prediction_key(settings), taken | set(chosen))
        drawn = _draws(session, pool, name, read_options(name, {}), rng)
        free = (_free_image(session, pool.images.ids[draw.index]) for draw, _ in drawn)
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


def _numbers(options: Mapping[str, object]) -> dict[str, float]:
    """Return the options of a strategy among those of a request."""
    given = {name: value for name, value in options.items() if name not in ("skip", "client_id")}
    numbers = {name: value for name, value in given.items() if isinstance(value, int | float)}
    if odd := given.keys() - numbers.keys():
        raise InvalidInputError(f"expected a number for {min(odd)[:60]!r}")
    return numbers


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
    given_back = session.execute(
        held.values(released_at=now, outcome="skipped").returning(LeaseRow.strategy)
    )
    for strategy in given_back.scalars().all():
        change: Json = {"strategy": strategy}
        audit.record(session, client_id, "skip sample", skipped, change, now=now)


def _record(session: Session, sample: Sample, *, now: float) -> None:
    """Write down who was given which image; when the lease ended, the table of leases says."""
    lease = sample.lease
    change: Json = {
        "lease": lease.id,
        "strategy": lease.strategy,
        "is_random": lease.is_random or sample.is_fallback,
        "model_version": lease.model_version_id,
    }
    audit.record(session, lease.client_id, "serve sample", lease.image_id, change, now=now)


def _lease_best(
    session: Session, pool: Pool, lease: LeaseRow, options: Options, rng: np.random.Generator
) -> Sample | None:
    """Lease the best candidate that still is one."""
    for draw, coverage in _draws(session, pool, lease.strategy, options, rng):
        image = _free_image(session, pool.images.ids[draw.index])
        if image is None:
            continue
        _note_draw(lease, pool, draw)
        if _try_lease(session, image, lease):
            if draw.is_fallback:
                share = f"{coverage:.0%}"
                logger.info("%s: drew at random, as %s is scored", lease.strategy, share)
            doubt = _doubt(session, int(pool.images.prediction[draw.index]))
            return Sample(image, draw.utility, lease, coverage, draw.is_fallback, doubt)
    return None


def _doubt(session: Session, prediction: int) -> Json | None:
    """Return which head of a prediction is in doubt, None where there is no prediction."""
    shares = session.execute(_SHARES, {"prediction": prediction}).first()
    return None if shares is None else doubt_by_head(*shares)


def _note_draw(lease: LeaseRow, pool: Pool, draw: Draw) -> None:
    """Keep with a lease how its image was drawn, and what was known of it then."""
    lease.is_random = draw.is_random
    lease.model_version_id = pool.images.version or None
    if pool.candidates.is_scored[draw.index]:
        lease.lesion_count = int(pool.images.measure("lesion_count")[draw.index])
        lease.slice_count = int(pool.images.measure("slice_count")[draw.index])


def _draws(
    session: Session, pool: Pool, name: str, options: Options, rng: np.random.Generator
) -> Iterator[tuple[Draw, float]]:
    """Draw candidates, the one to serve first, each with the coverage of what is to label."""
    if not pool.is_open.any():
        return
    ranking = ranking_of(session, pool, name, options)
    coverage = ranking.coverage(pool.is_open)
    batches: tuple[list[int], ...] = (pool.batch.tolist(), [])
    for batch in batches:
        places = rng.random(_ATTEMPTS).tolist()
        for draw in draw_images(ranking, pool.is_open, batch, places, rng):
            yield draw, coverage


def _free_image(session: Session, image_id: str) -> ImageRow | None:
    """Return an image unless it is gone or labeled by now."""
    return session.scalars(_FREE, {"image": image_id}).first()


def _try_lease(session: Session, image: ImageRow, lease: LeaseRow) -> bool:
    """Lease an image; False when another client has just got it."""
    lease.image_id = image.id
    try:
        with session.begin_nested():
            session.add(lease)
    except IntegrityError:
        return False
    return True
