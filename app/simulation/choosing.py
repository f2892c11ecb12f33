"""What a strategy is shown of a simulated pool, and what it chooses."""

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.simulation.cases import Oracle
from app.simulation.outcomes import PoolView
from strategies.base import Candidates
from strategies.registry import get_strategy
from strategies.selection import select_batch


def choose(
    strategy: str,
    oracle: Oracle,
    taken: Sequence[int],
    views: Sequence[PoolView],
    count: int,
    *,
    seed: int,
) -> tuple[int, ...]:
    """Choose the images to be labeled next.

    Args:
        strategy: Name of the strategy.
        oracle: Images.
        taken: Places in the pool that are labeled.
        views: What the models said about the pool so far, the latest last; empty for a
            strategy that asks none.
        count: How many images to choose.
        seed: The same seed, strategy and round choose the same images.

    Returns:
        All labeled places with the new ones, ascending; fewer new ones when patients run out.
    """
    free = np.setdiff1d(np.arange(len(oracle.pool)), taken)
    candidates = _candidates(oracle, free, np.array(taken, dtype=np.int64), views)
    # Not hash(), which differs between runs.
    name = zlib.crc32(strategy.encode())
    rng = np.random.default_rng([seed, len(taken), name])
    chosen = select_batch(get_strategy(strategy), candidates, count, rng)
    return tuple(sorted(int(place) for place in (*taken, *free[chosen])))


def _candidates(
    oracle: Oracle,
    free: NDArray[np.int64],
    taken: NDArray[np.int64],
    views: Sequence[PoolView],
) -> Candidates:
    """Show the free images; without a model nothing but their patients is known."""
    if not views:
        unknown = np.full(free.size, np.nan)
        no = np.zeros(free.size, dtype=np.bool_)
        return Candidates(unknown, unknown, unknown, no, oracle.groups[free], no)
    view = views[-1]
    latest_first = views[::-1]
    return Candidates(
        clinical_uncertainty=view.clinical_uncertainty[free],
        lesion_uncertainty=view.lesion_uncertainty[free],
        agatston=view.agatston[free],
        is_scored=np.ones(free.size, dtype=np.bool_),
        patient=oracle.groups[free],
        has_candidates=view.has_candidates[free],
        entropy=view.entropy[free],
        bald=view.bald[free],
        artery_entropy=view.artery_entropy[free],
        log_agatston=view.log_agatston[free],
        embedding=view.embedding[free],
        # Lesions that the model sees: how many there are is not known before the label.
        expected_seconds=oracle.costs.seconds(view.lesions[free], is_checked=True),
        version_agatston=np.stack([one.agatston[free] for one in latest_first], axis=1),
        version_clinical_uncertainty=np.stack(
            [one.clinical_uncertainty[free] for one in latest_first], axis=1
        ),
        taken_embedding=view.embedding[taken],
        step=len(views) - 1,
    )
