"""A strategy that covers the variety of a pool, for when a model knows too little to be asked.

With few labels, typical images teach more than hard ones; see Hacohen et al. 2022 (TypiClust),
https://arxiv.org/abs/2202.02794.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from strategies.base import Candidates, Options, Pick, Turn
from strategies.ranking import NoOpinion, pick_highest, worth_labeling
from strategies.strata import UNSCORED_STRATUM, candidate_strata
from strategies.strategy import Option

TYPICAL_OPTIONS: dict[str, Option] = {"outlier_share": Option(0.1, 0.0, 0.9)}
"""Share of the images, the least typical, that are left to the random draws."""

SHORTLIST = 1024
"""Images that are looked at: a fixed random part of a larger pool covers it as well."""

_NEIGHBORS = 20
"""Nearest images over which an image is typical; TypiClust's number."""

_SHORTLIST_SEED = 20220202


@dataclass(frozen=True, eq=False)
class Farthest:
    """Rank by the distance to everything labeled or chosen, strata in turn.

    Attributes:
        between: Distances between the images, features with deviation 1, shape (N, N).
        is_typical: Images that are ranked, shape (N,).
        typicality: Closeness to the nearest images, shape (N,): ranks while nothing is taken.
        distance: To the nearest labeled image, shape (N,); infinity where there is none.
        strata: Stratum of each image, shape (N,).
        needs_scores: Whether only scored images are ranked.
    """

    between: NDArray[np.float32]
    is_typical: NDArray[np.bool_]
    typicality: NDArray[np.float64]
    distance: NDArray[np.float64]
    strata: NDArray[np.int64]
    needs_scores: bool
    is_random: bool = False

    def pick(self, turn: Turn) -> Pick | None:
        """Choose the farthest image of the stratum that the batch has least of."""
        chosen, rng = list(turn.chosen), turn.rng
        is_open = turn.is_open & self.is_typical
        present = np.unique(self.strata[is_open])
        if not present.size:
            return None
        used = np.bincount(self.strata[chosen], minlength=UNSCORED_STRATUM + 1)[present]
        stratum = rng.choice(present[used == used.min()])
        utilities = self.typicality if np.isinf(self.distance).all() else self.distance
        if chosen:
            to_batch = self.between[chosen].min(axis=0)
            utilities = np.minimum(self.distance, to_batch)
        is_wanted = is_open & (self.strata == stratum)
        return pick_highest(np.where(is_wanted, utilities, -np.inf), rng)


def rank_diverse(candidates: Candidates, options: Options) -> Farthest | NoOpinion:
    """Rank by distance in the space of the embeddings; without embeddings, rank nothing."""
    if candidates.embedding is None or not len(candidates):
        return NoOpinion()
    needs_scores = bool(candidates.is_scored.any())
    is_known: NDArray[np.bool_] = ~np.isnan(candidates.embedding.sum(axis=1))
    if needs_scores:
        # An empty heart is left to the random draws, as by every strategy.
        is_known = is_known & worth_labeling(candidates)
    if not (is_known.any() and candidates.embedding.shape[1]):
        return NoOpinion(needs_scores=True)
    embedding, taken = _standardized(candidates, is_known)
    between = cdist(embedding, embedding).astype(np.float32)
    typicality = _typicality(between, is_known)
    lowest = np.quantile(typicality[is_known], options["outlier_share"])
    nothing = np.full(len(between), np.inf)
    return Farthest(
        between,
        is_typical=is_known & (typicality >= lowest),
        typicality=typicality,
        distance=cdist(embedding, taken).min(axis=1) if len(taken) else nothing,
        strata=candidate_strata(candidates),
        needs_scores=needs_scores,
    )


def spread_out(candidates: Candidates) -> NDArray[np.int64]:
    """Return images drawn evenly from the pool, always the same, at most ``SHORTLIST``.

    Once there are scores, only of the scored ones.
    """
    ranked = np.flatnonzero(candidates.is_scored)
    ranked = ranked if ranked.size else np.arange(len(candidates))
    shuffled = np.random.default_rng(_SHORTLIST_SEED).permutation(ranked)
    return np.sort(shuffled[:SHORTLIST])


def _standardized(
    candidates: Candidates, is_known: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the embeddings of pool and taken images with deviation 1 in each column."""
    assert candidates.embedding is not None  # noqa: S101 - the caller has looked
    embedding = np.where(is_known[:, None], candidates.embedding, 0.0).astype(np.float64)
    scale = embedding[is_known].std(axis=0)
    scale[scale == 0] = 1.0
    taken = candidates.taken_embedding
    if taken is None or taken.shape[1] != embedding.shape[1]:
        taken = np.empty((0, embedding.shape[1]), np.float32)
    return embedding / scale, taken / scale


def _typicality(between: NDArray[np.float32], is_known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return one over the mean distance to the nearest images, 0 where nothing is known."""
    known = between[np.ix_(is_known, is_known)]
    count = min(_NEIGHBORS, len(known) - 1)
    typicality = np.zeros(len(between))
    if count < 1:
        typicality[is_known] = 1.0
        return typicality
    nearest = np.partition(known, count, axis=1)[:, : count + 1]
    # The nearest of all is the image itself.
    typicality[is_known] = 1 / (1 + nearest.sum(axis=1) / count)
    return typicality
