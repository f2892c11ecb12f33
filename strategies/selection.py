"""Choose images: shared by every strategy, so that shares, patients and ties are seen to once.

What a ranking costs, it costs once in ``prepare``; each draw then takes a few passes over
arrays of the pool, with no sorting, so that a pool of 100 000 images answers in milliseconds.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from strategies.base import Candidates, Options, Pick, Ranking, Turn
from strategies.strata import UNSCORED_STRATUM, candidate_strata
from strategies.strategy import RANDOM_SHARE, Strategy

LOWEST_COVERAGE = 0.5
"""Share of the pool that must be scored for its ranking to say something about the pool."""

ARTEFACT_SHARE = 0.2
"""Largest share of images with artefacts in a batch: models are least sure of what is spoilt."""


@dataclass(frozen=True)
class Draw:
    """One image that was chosen.

    Attributes:
        index: Its index in the pool.
        utility: What the strategy gave it; 0 where it was drawn at random.
        is_random: Whether it was drawn with a known chance.
        is_fallback: Whether that was because too little of the pool is scored.
    """

    index: int
    utility: float
    is_random: bool
    is_fallback: bool = False


@dataclass(frozen=True, eq=False)
class Prepared:
    """A ranked pool, to draw from again and again.

    Attributes:
        ranking: Opinion of the strategy.
        random_share: Share of stratified random draws.
        strata: Stratum of each image, shape (N,).
        patient: Group number of each image, from 0 without gaps, shape (N,).
        has_artefact: Whether an image is spoilt by noise or metal, shape (N,), or None.
    """

    ranking: Ranking
    random_share: float
    strata: NDArray[np.int64]
    patient: NDArray[np.int64]
    has_artefact: NDArray[np.bool_] | None

    def coverage(self, is_open: NDArray[np.bool_]) -> float:
        """Return which share of the open images is scored; 0 of none."""
        scored = int(np.count_nonzero(is_open & (self.strata != UNSCORED_STRATUM)))
        return scored / max(int(np.count_nonzero(is_open)), 1)


def select_batch(
    strategy: Strategy,
    candidates: Candidates,
    count: int,
    rng: np.random.Generator,
    options: Options | None = None,
) -> NDArray[np.int64]:
    """Choose a batch: images to be labeled before the model learns anything new.

    Args:
        strategy: The strategy.
        candidates: The pool, N images.
        count: Number of images wanted, >= 0.
        rng: Source of all randomness.
        options: Options to set; the others have their defaults.

    Returns:
        Indices into the pool, first to label first; at most one image of each patient, so
        fewer than ``count`` when the patients run out.

    Raises:
        ValueError: If ``count`` is negative, an option is wrong, or a field is missing that
            the strategy needs.
    """
    if count < 0:
        raise ValueError(f"expected a count >= 0, got {count}")
    prepared = prepare(strategy, candidates, strategy.read_options(options))
    # Evenly spread places give every share of the batch its exact number, up to one image.
    places = (rng.permutation(count) + rng.random(count)) / max(count, 1)
    is_open = np.ones(len(candidates), dtype=np.bool_)
    draws = draw_images(prepared, is_open, (), places.tolist(), rng)
    return np.array([draw.index for draw in draws], dtype=np.int64)


def prepare(strategy: Strategy, candidates: Candidates, options: Options) -> Prepared:
    """Rank a pool.

    Args:
        strategy: The strategy.
        candidates: The pool, N images; where the strategy has a shortlist, fields that it
            needs may be None as long as nothing is on the list.
        options: Values of all options.

    Raises:
        ValueError: If a field is missing that the strategy needs.
    """
    if strategy.shortlist is None:
        ranking = rank(strategy, candidates, options)
    else:
        places = strategy.shortlist(candidates)
        ranking = Shortlisted(rank(strategy, candidates.take(places), options), places)
    return prepared(ranking, candidates, options)


def prepared(ranking: Ranking, candidates: Candidates, options: Options) -> Prepared:
    """Join a ranking with what drawing needs to know of its pool."""
    return Prepared(
        ranking,
        options.get(RANDOM_SHARE, 0.0),
        candidate_strata(candidates),
        _without_gaps(candidates.patient),
        candidates.has_artefact,
    )


def _without_gaps(patient: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number groups from 0 without large gaps."""
    if patient.size and patient.min() >= 0 and patient.max() < patient.size:
        return patient
    return np.unique(patient, return_inverse=True)[1]


def rank(strategy: Strategy, candidates: Candidates, options: Options) -> Ranking:
    """Let a strategy rank a pool, or the shortlist of one.

    Raises:
        ValueError: If a field is missing that the strategy needs.
    """
    missing = [name for name in strategy.needs if getattr(candidates, name) is None]
    if missing and candidates.is_scored.any():
        raise ValueError(f"expected candidates with {', '.join(missing)}, got None")
    return strategy.rank(candidates, options)


@dataclass(frozen=True, eq=False)
class Shortlisted:
    """The ranking of a part of the pool.

    Attributes:
        ranking: Ranking of the part.
        places: Where in the pool its images are, shape (M,).
    """

    ranking: Ranking
    places: NDArray[np.int64]

    @property
    def needs_scores(self) -> bool:
        """Whether only scored images are ranked."""
        return self.ranking.needs_scores

    @property
    def is_random(self) -> bool:
        """Whether every image has a known chance."""
        return self.ranking.is_random

    def pick(self, turn: Turn) -> Pick | None:
        """Choose within the part; images chosen elsewhere are not known there."""
        within = np.flatnonzero(np.isin(self.places, np.array(turn.chosen, dtype=np.int64)))
        part = replace(turn, is_open=turn.is_open[self.places], chosen=within.tolist())
        found = self.ranking.pick(part)
        return None if found is None else (int(self.places[found[0]]), found[1])


def draw_images(
    pool: Prepared,
    is_open: NDArray[np.bool_],
    chosen: Sequence[int],
    places: Iterable[float],
    rng: np.random.Generator,
) -> Iterator[Draw]:
    """Draw one image for each place, at most one of a patient.

    Below ``LOWEST_COVERAGE`` a ranking says little about the pool, so that every draw is
    stratified random. Above it, unscored images are drawn at random as often as they are
    frequent: no image has to wait for its score.

    Args:
        pool: The ranked pool, N images.
        is_open: Images that may be drawn, shape (N,).
        chosen: Images drawn earlier for the same batch; their patients are left out.
        places: Numbers in [0, 1), uniform over a batch, which share it out.
        rng: Source of all other randomness.

    Yields:
        Draws, until the places or the patients run out.
    """
    batch = list(chosen)
    is_closed = np.zeros(int(pool.patient.max(initial=0)) + 1, dtype=np.bool_)
    is_closed[pool.patient[batch]] = True
    is_open = is_open & ~is_closed[pool.patient]
    coverage = pool.coverage(is_open)
    used = np.zeros(UNSCORED_STRATUM, dtype=np.int64)
    for place in places:
        if not is_open.any():
            return
        draw = _draw(pool, is_open, batch, place, coverage, used, rng)
        yield draw
        batch.append(draw.index)
        is_open &= pool.patient != pool.patient[draw.index]


def _draw(
    pool: Prepared,
    is_open: NDArray[np.bool_],
    batch: Sequence[int],
    place: float,
    coverage: float,
    used: NDArray[np.int64],
    rng: np.random.Generator,
) -> Draw:
    """Draw the image of one place."""
    is_quota = place < pool.random_share
    is_fallback = not is_quota and pool.ranking.needs_scores and coverage < LOWEST_COVERAGE
    if not (is_quota or is_fallback):
        place = (place - pool.random_share) / (1 - pool.random_share)
        found = None
        if not pool.ranking.needs_scores:
            is_ranked = _cap_artefacts(pool, is_open, batch)
            found = pool.ranking.pick(Turn(is_ranked, batch, place, rng))
        elif place < coverage:
            is_scored = is_open & (pool.strata != UNSCORED_STRATUM)
            is_ranked = _cap_artefacts(pool, is_scored, batch)
            found = pool.ranking.pick(Turn(is_ranked, batch, place / coverage, rng))
        elif (unscored := np.flatnonzero(is_open & (pool.strata == UNSCORED_STRATUM))).size:
            found = int(rng.choice(unscored)), 0.0
        if found is not None:
            return Draw(*found, is_random=pool.ranking.is_random)
    index = _draw_stratified(pool.strata, is_open, used, rng)
    return Draw(index, 0.0, is_random=True, is_fallback=is_fallback)


def _draw_stratified(
    strata: NDArray[np.int64],
    is_open: NDArray[np.bool_],
    used: NDArray[np.int64],
    rng: np.random.Generator,
) -> int:
    """Draw an image of the risk stratum that was drawn least so far.

    Half of a pool has no calcium, so plain random mostly serves empty hearts; this is the
    counterpart of foreground-aware random sampling, the strong baseline of segmentation.
    Unscored images come as often as they are frequent, as they may be of any stratum. See
    Lüth et al. 2025 (nnActive), https://arxiv.org/abs/2511.19183.
    """
    members = [is_open & (strata == stratum) for stratum in range(UNSCORED_STRATUM + 1)]
    counts = np.array([np.count_nonzero(member) for member in members])
    if rng.random() * counts.sum() < counts[UNSCORED_STRATUM]:
        stratum = UNSCORED_STRATUM
    else:
        present = np.flatnonzero(counts[:UNSCORED_STRATUM])
        least = present[used[present] == used[present].min()]
        stratum = int(rng.choice(least))
        used[stratum] += 1
    return int(rng.choice(np.flatnonzero(members[stratum])))


def _cap_artefacts(
    pool: Prepared, is_open: NDArray[np.bool_], batch: Sequence[int]
) -> NDArray[np.bool_]:
    """Close the images with artefacts when one more would exceed their share.

    Random draws see them all: the share of the pool that they judge must stay true.
    """
    if pool.has_artefact is None or pool.ranking.is_random:
        return is_open
    flagged = np.count_nonzero(pool.has_artefact[list(batch)])
    is_clean = is_open & ~pool.has_artefact
    # The first may always come, else small batches would never see one.
    if flagged and flagged + 1 > ARTEFACT_SHARE * (len(batch) + 1) and is_clean.any():
        return is_clean
    return is_open
