"""The default strategy: uncertain images first, a random share to keep the pool honest."""

import numpy as np
from numpy.typing import NDArray

from strategies.aggregation import rank_average
from strategies.base import Candidates
from strategies.sampling import stratified_order
from strategies.selection import select_top, utilities_from_order

RANDOM_SHARE = 0.2
"""Share of places filled by stratified random draws instead of by uncertainty.

They reach what the model is confidently wrong about, and being drawn with known chances allow
an unbiased estimate over the pool.
"""


def serve_uncertain(candidates: Candidates, rng: np.random.Generator) -> NDArray[np.float64]:
    """Serve uncertain images first; one place in five is drawn at random by risk stratum.

    Images the active model version has not scored take places of the uncertain share at random:
    there they are as frequent as in the pool, so a new pool is served at random and no image
    has to wait for its score. Images without candidate voxels come behind all other scored
    images and are reached by the random share.

    Args:
        candidates: The pool, N images.
        rng: Source of the random share, the places of unscored images and of ties.

    Returns:
        Utilities, shape (N,), all different, in (0, 1].
    """
    by_uncertainty = uncertainty_order(candidates, rng)
    return utilities_from_order(_merge(by_uncertainty, stratified_order(candidates, rng), rng))


def uncertainty_order(candidates: Candidates, rng: np.random.Generator) -> NDArray[np.int64]:
    """Order scored images by uncertainty and spread unscored ones evenly among them.

    Args:
        candidates: The pool, N images.
        rng: Source of the places of unscored images and of the order of ties.

    Returns:
        A permutation of 0..N-1, first to serve first.
    """
    scored = np.flatnonzero(candidates.is_scored)
    unscored = np.flatnonzero(~candidates.is_scored)
    utilities = combined_uncertainty(candidates)[scored]
    is_unscored_place = np.zeros(len(candidates), dtype=np.bool_)
    is_unscored_place[rng.permutation(len(candidates))[: unscored.size]] = True
    order = np.empty(len(candidates), dtype=np.int64)
    order[is_unscored_place] = rng.permutation(unscored)
    order[~is_unscored_place] = scored[select_top(utilities, scored.size, rng)]
    return order


def combined_uncertainty(candidates: Candidates) -> NDArray[np.float64]:
    """Average the ranks of clinical and lesion uncertainty.

    Ranks, because the two are in different units and both have long tails.

    Args:
        candidates: The pool, N images.

    Returns:
        Mean rank as a share of the ranked images, shape (N,), in (0, 1]; exactly 0 for images
        without candidate voxels, and for unscored images, of which nothing is known.
    """
    is_ranked = candidates.is_scored & candidates.has_candidates
    terms = np.stack([candidates.clinical_uncertainty, candidates.lesion_uncertainty])
    combined = np.zeros(len(candidates), dtype=np.float64)
    combined[is_ranked] = rank_average(terms[:, is_ranked])
    return combined


def _merge(
    main: NDArray[np.int64], drawn: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Merge two orders; at each place the next image is from ``drawn`` with RANDOM_SHARE."""
    # Two independent Poisson clocks of rates 1 - share and share: each next tick belongs to
    # the second with probability share, whatever came before. An image counts when first due.
    due = np.empty(main.size, dtype=np.float64)
    due[main] = np.cumsum(rng.exponential(1 / (1 - RANDOM_SHARE), main.size))
    due_by_chance = np.empty(main.size, dtype=np.float64)
    due_by_chance[drawn] = np.cumsum(rng.exponential(1 / RANDOM_SHARE, main.size))
    order: NDArray[np.int64] = np.argsort(np.minimum(due, due_by_chance))
    return order
