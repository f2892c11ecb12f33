"""Strategies that ask no uncertainty: the baselines every other one has to beat."""

import numpy as np
from numpy.typing import NDArray

from strategies.base import Candidates
from strategies.selection import utilities_from_order
from strategies.strata import candidate_strata


def serve_first(candidates: Candidates, _rng: np.random.Generator) -> NDArray[np.float64]:
    """Keep the order in which the candidates came in: longest not served first."""
    return utilities_from_order(np.arange(len(candidates)))


def serve_random(candidates: Candidates, rng: np.random.Generator) -> NDArray[np.float64]:
    """Give every image the same chance."""
    return utilities_from_order(rng.permutation(len(candidates)))


def serve_stratified(candidates: Candidates, rng: np.random.Generator) -> NDArray[np.float64]:
    """Give every predicted risk stratum the same chance, and every image within it."""
    return utilities_from_order(stratified_order(candidates, rng))


def stratified_order(candidates: Candidates, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw the candidates in rounds of one image per stratum, strata in random order.

    Half of a pool has no calcium, so plain random mostly serves empty hearts; this is the
    counterpart of foreground-aware random sampling, the strong baseline of segmentation.

    Args:
        candidates: The pool, N images.
        rng: Source of the order within strata and of the strata within a round.

    Returns:
        A permutation of 0..N-1, first to serve first.

    References:
        Lüth et al. 2025 (nnActive), https://arxiv.org/abs/2511.19183.
    """
    shuffled = rng.permutation(len(candidates))
    strata = candidate_strata(candidates)[shuffled]
    by_stratum = np.argsort(strata, kind="stable")
    _, starts, sizes = np.unique(strata[by_stratum], return_index=True, return_counts=True)
    rounds = np.arange(len(candidates)) - np.repeat(starts, sizes)
    order: NDArray[np.int64] = shuffled[by_stratum][np.argsort(rounds + rng.random(rounds.size))]
    return order
