"""Rankings of the pool: made once for what a strategy sees, and drawn from by every request.

What is wide, as the samples and embeddings of predictions, is read only of the images on a
strategy's shortlist.

Concurrency: any thread. Two that ask for one ranking at once may both make it; they are equal.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Select, exists, select
from sqlalchemy.orm import Session

from app.errors import InvalidInputError
from app.intake.pool_mirror import Pool
from app.intake.ranked_images import RankedImages
from app.sampling.costs import cost_model
from app.store.tables import ActivationRow, ImageRow, ModelVersionRow, PredictionRow
from strategies.base import Candidates, Options
from strategies.ensemble import MOST_VERSIONS
from strategies.registry import get_strategy
from strategies.selection import Prepared, Shortlisted, prepared, rank
from strategies.strategy import Strategy

_AT_ONCE: Final = 500
"""Ids in one query; SQLite takes a thousand in its oldest versions."""

_MOST_TAKEN: Final = 1024
"""Labeled images whose features are compared with; of more, as many drawn at random."""

_LABELS_APART: Final = 64
"""Labels after which the features of what is labeled are read again; before that, the batch
that the labels belong to is known image by image."""


def read_options(name: str, given: Options) -> Options:
    """Return the values of a strategy's options.

    Raises:
        InvalidInputError: If there is no such option or the value is not allowed.
    """
    try:
        return get_strategy(name).read_options(given)
    except ValueError as error:
        raise InvalidInputError(str(error)) from None


def ranking_of(session: Session, pool: Pool, name: str, options: Options) -> Prepared:
    """Return the ranking of a pool by a strategy, made now if it is not known.

    Args:
        session: Session to read with what the pool does not hold.
        pool: The pool.
        name: Name of the strategy.
        options: Values of all its options.
    """
    strategy = get_strategy(name)
    if strategy.follows_service:
        served = replace(pool.images.unscored, last_served=pool.last_served)
        return prepared(rank(strategy, served, options), served, options)
    costs = cost_model(session) if "expected_seconds" in strategy.needs else None
    labels = int(np.count_nonzero(pool.is_labeled)) // _LABELS_APART
    key = (name, *sorted(options.items()), costs, labels if "embedding" in strategy.needs else 0)
    rankings = pool.images.rankings
    if key not in rankings:
        candidates = pool.candidates
        if costs is not None:
            counts = (pool.images.measure(f"{kind}_count") for kind in ("lesion", "slice"))
            seconds = costs.seconds(*(np.nan_to_num(count) for count in counts))
            candidates = replace(candidates, expected_seconds=seconds)
        if "version_agatston" in strategy.needs:
            candidates = _with_versions(session, pool, candidates)
        rankings[key] = _rank(session, pool, strategy, candidates, options)
    return rankings[key]


def _rank(
    session: Session, pool: Pool, strategy: Strategy, candidates: Candidates, options: Options
) -> Prepared:
    if strategy.shortlist is None:
        return prepared(rank(strategy, candidates, options), candidates, options)
    # The batch counts in a ranking that is conditioned on it; older labels tell nothing new.
    is_listed = ~pool.is_labeled
    is_listed[pool.batch] = "log_agatston" in strategy.needs
    places = np.flatnonzero(is_listed)
    places = places[strategy.shortlist(candidates.take(places))]
    listed = candidates.take(places)
    if "log_agatston" in strategy.needs:
        samples = _samples(session, pool.images.prediction[places])
        listed = replace(listed, log_agatston=samples)
    if "embedding" in strategy.needs:
        listed = _with_embedding(session, pool, listed, places)
    return prepared(Shortlisted(rank(strategy, listed, options), places), candidates, options)


def _with_versions(session: Session, pool: Pool, candidates: Candidates) -> Candidates:
    """Add what the versions that answered before the active one predicted.

    One that was kept back has seen the validation images alone.
    """
    known = pool.images.earlier
    scores, spreads = [candidates.agatston], [candidates.clinical_uncertainty]
    has_answered = exists().where(ActivationRow.model_version_id == ModelVersionRow.id)
    earlier = (
        select(ModelVersionRow.id)
        .where(ModelVersionRow.id < pool.images.version, has_answered)
        .order_by(ModelVersionRow.id.desc())
        .limit(MOST_VERSIONS - 1)
    )
    for version in session.scalars(earlier).all():
        if version not in known:
            known[version] = _predicted_by(session, version, pool.images)
        scores.append(known[version][0])
        spreads.append(known[version][1])
    return replace(
        candidates,
        version_agatston=np.stack(scores, axis=1),
        version_clinical_uncertainty=np.stack(spreads, axis=1),
    )


def _predicted_by(session: Session, version: int, images: RankedImages) -> NDArray[np.float64]:
    """Return score and clinical uncertainty of each image by a version, shape (2, N)."""
    place = {image_id: at for at, image_id in enumerate(images.ids)}
    wanted = select(
        PredictionRow.image_id, PredictionRow.agatston, PredictionRow.clinical_uncertainty
    ).where(PredictionRow.model_version_id == version, PredictionRow.key == images.key)
    found = [row for row in session.execute(wanted) if row[0] in place]
    values = np.full((2, len(images.ids)), np.nan)
    if found:
        values[:, [place[row[0]] for row in found]] = np.array([row[1:] for row in found]).T
    return values


def _samples(session: Session, predictions: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return log(1 + total Agatston) of each sample, shape (M, T); zeros where there is none."""
    found: dict[int, NDArray[np.float64]] = {}
    for ids in _chunks(predictions):
        wanted = select(PredictionRow.id, PredictionRow.agatston_samples)
        for number, samples in session.execute(wanted.where(PredictionRow.id.in_(ids))):
            table = np.asarray(samples, np.float64)
            found[number] = np.log1p(table.sum(axis=1)) if table.ndim == 2 else table
    count = max((row.size for row in found.values()), default=0)
    rows = np.zeros((predictions.size, max(count, 2)), np.float32)
    for at, number in enumerate(predictions.tolist()):
        if number in found and found[number].size == rows.shape[1]:
            rows[at] = found[number]
    return rows


def _with_embedding(
    session: Session, pool: Pool, listed: Candidates, places: NDArray[np.int64]
) -> Candidates:
    """Add the features of the listed images, and of those labeled or leased."""
    images = pool.images
    is_taken = pool.is_labeled.copy()
    is_taken[pool.batch] = True
    if images.version:
        is_taken &= images.prediction > 0
    taken = np.flatnonzero(is_taken)
    taken = np.random.default_rng(taken.size).permutation(taken)[:_MOST_TAKEN]
    wanted = np.concatenate([places, taken])
    if images.version:
        embedding = _embeddings(session, images.prediction[wanted])
    else:
        embedding = _facts(session, [images.ids[at] for at in wanted.tolist()])
    known = embedding[places.size :]
    return replace(
        listed,
        embedding=embedding[: places.size],
        taken_embedding=known[~np.isnan(known).any(axis=1)],
    )


def _embeddings(session: Session, predictions: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the embedding of each prediction, shape (M, D), NaN where there is none."""
    found: dict[int, NDArray[np.float32]] = {}
    for ids in _chunks(predictions):
        wanted = select(PredictionRow.id, PredictionRow.embedding)
        for number, content in session.execute(wanted.where(PredictionRow.id.in_(ids))):
            found[number] = np.frombuffer(content, "<f4")
    width = max((row.size for row in found.values()), default=0)
    rows = np.full((predictions.size, width), np.nan, np.float32)
    for at, number in enumerate(predictions.tolist()):
        if number in found and found[number].size == width:
            rows[at] = found[number]
    return rows


def _facts(session: Session, image_ids: Sequence[str]) -> NDArray[np.float32]:
    """Return what is known of images without a model, shape (M, 5).

    Slices, log of the spacing within and between slices, log of the width, tube voltage:
    they tell scanners, protocols and fields of view apart.
    """
    found: dict[str, list[float]] = {}
    for start in range(0, len(image_ids), _AT_ONCE):
        wanted: Select[str, dict[str, int], list[list[float]], float | None] = select(
            ImageRow.id, ImageRow.shape, ImageRow.affine, ImageRow.kvp
        ).where(ImageRow.id.in_(image_ids[start : start + _AT_ONCE]))
        for image_id, shape, affine, kvp in session.execute(wanted):
            spacing = np.linalg.norm(np.array(affine)[:3, :3], axis=0)
            width = np.log(shape["x"] * spacing[0])
            within, between = np.log(spacing[0]), np.log(spacing[2])
            found[image_id] = [shape["z"], within, between, width, kvp or 0.0]
    unknown = [np.nan] * 5
    rows = [found.get(image_id, unknown) for image_id in image_ids]
    return np.array(rows, np.float32).reshape(-1, 5)


def _chunks(predictions: NDArray[np.int64]) -> list[list[int]]:
    known = np.unique(predictions[predictions > 0]).tolist()
    return [known[start : start + _AT_ONCE] for start in range(0, len(known), _AT_ONCE)]
