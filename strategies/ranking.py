"""Rankings by one utility per image, with and without noise."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from strategies.base import Candidates, Options, Pick, Turn


@dataclass(frozen=True, eq=False)
class ByUtility:
    """Rank by a utility, equal ones in random order.

    Attributes:
        utilities: Shape (N,), higher = label sooner; -inf for images that are not ranked.
        needs_scores: Whether only scored images are ranked.
    """

    utilities: NDArray[np.float64]
    needs_scores: bool = True
    is_random: bool = False

    def pick(self, turn: Turn) -> Pick | None:
        """Choose the open image of highest utility."""
        return pick_highest(np.where(turn.is_open, self.utilities, -np.inf), turn.rng)


@dataclass(frozen=True, eq=False)
class AtRandom:
    """Give every image the same chance."""

    needs_scores: bool = False
    is_random: bool = True

    def pick(self, turn: Turn) -> Pick | None:
        """Choose any open image."""
        open_places = np.flatnonzero(turn.is_open)
        return (int(turn.rng.choice(open_places)), 0.0) if open_places.size else None


@dataclass(frozen=True)
class NoOpinion:
    """Rank nothing, so that every draw is stratified random."""

    needs_scores: bool = False
    is_random: bool = True

    def pick(self, _turn: Turn) -> Pick | None:
        """Choose no image."""
        return None


def pick_highest(utilities: NDArray[np.float64], rng: np.random.Generator) -> Pick | None:
    """Return place and value of the highest utility, equal ones with the same chance.

    Args:
        utilities: Shape (N,), -inf where nothing may be chosen, never NaN.
        rng: Source of the order of equal utilities; array order would favor early uploads.

    Returns:
        None if there is no utility above -inf.
    """
    highest = float(utilities.max(initial=-np.inf))
    if highest == -np.inf:
        return None
    return int(rng.choice(np.flatnonzero(utilities == highest))), highest


def worth_labeling(candidates: Candidates) -> NDArray[np.bool_]:
    """Tell which images a model can be unsure of: scored ones with candidate voxels.

    All others are reached by the random share alone.
    """
    return candidates.is_scored & candidates.has_candidates


def by_measure(
    candidates: Candidates, measure: NDArray[np.float64], _options: Options | None = None
) -> ByUtility:
    """Rank by a measure the images that a model can be unsure of.

    Args:
        candidates: The pool, N images.
        measure: Shape (N,), finite where an image is worth labeling.
    """
    return ByUtility(np.where(worth_labeling(candidates), measure, -np.inf))
