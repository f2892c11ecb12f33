"""Strategies that add noise to a utility, so that a batch is not one image many times over.

The top of a ranking is full of images that are hard for the same reason, and a ranking is
stale after the first label. Noise of a scale that falls from round to round explores early
and exploits late, at no cost.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from strategies.base import Candidates, Options, Pick, Turn
from strategies.measured import combined_uncertainty, known
from strategies.ranking import pick_highest, worth_labeling
from strategies.strategy import Option

BETA_OPTIONS: dict[str, Option] = {
    "beta_first": Option(1.0, 0.01, 1000.0),
    "beta_last": Option(100.0, 0.01, 1000.0),
    "beta_rounds": Option(10, 1, 1000),
}
"""Exponent of the utility in the chances: its first and last value, and trainings between."""

CLASS_SHARE: dict[str, Option] = {"class_share": Option(0.66, 0.0, 1.0)}
"""Share of a batch that is split evenly over the arteries (Kahl et al. 2026, ClaSP PE)."""


@dataclass(frozen=True, eq=False)
class Noisy:
    """Rank by noisy utilities: the chance of an image grows with a power of its utility.

    Attributes:
        utilities: Shape (K, N), >= 0: K measures; only images above 0 are ranked.
        shares: Share of the places that go by each measure, shape (K,), sum 1.
        beta: Exponent, > 0: 0 would be random, infinity no noise.
        needs_scores: Whether only scored images are ranked.
    """

    utilities: NDArray[np.float64]
    shares: NDArray[np.float64]
    beta: float
    needs_scores: bool = True
    is_random: bool = False

    def pick(self, turn: Turn) -> Pick | None:
        """Choose by the measure whose turn it is, by the last one where it ranks nothing."""
        first = int(np.searchsorted(np.cumsum(self.shares)[:-1], turn.place, side="right"))
        for measure in (first, len(self.shares) - 1):
            utilities = np.where(turn.is_open, self.utilities[measure], 0.0)
            found = pick_noisy(utilities, self.beta, turn.rng)
            if found is not None:
                return found
        return None


def rank_power(candidates: Candidates, options: Options) -> Noisy:
    """Rank by the uncertainty of the calcium score with decaying noise.

    References:
        Kirsch et al. 2023 (PowerBALD), https://arxiv.org/abs/2106.12059.
    """
    return Noisy(combined_uncertainty(candidates)[None], np.ones(1), beta_of(candidates, options))


def rank_clasp(candidates: Candidates, options: Options) -> Noisy:
    """Rank a share of the places by the entropy of one artery each, the others by that of all.

    Calcium of the left main is rare: without places of its own hardly any of it is labeled.

    References:
        Kahl et al. 2026 (ClaSP PE), https://arxiv.org/abs/2601.13677.
    """
    is_ranked = worth_labeling(candidates)
    table = candidates.artery_entropy
    arteries = np.zeros((0, len(candidates))) if table is None else table.T
    terms = np.vstack([arteries, known(candidates, candidates.entropy)])
    share = options["class_share"] if len(arteries) else 0.0
    shares = np.append(np.full(len(arteries), share / max(len(arteries), 1)), 1 - share)
    return Noisy(np.where(is_ranked, terms, 0.0), shares, beta_of(candidates, options))


def beta_of(candidates: Candidates, options: Options) -> float:
    """Return the exponent of this round: it grows by the same factor from round to round."""
    first, last = options["beta_first"], options["beta_last"]
    progress = min(candidates.step / options["beta_rounds"], 1.0)
    return float(first * (last / first) ** progress)


def pick_noisy(
    utilities: NDArray[np.float64], beta: float, rng: np.random.Generator
) -> Pick | None:
    """Choose one image with chances proportional to ``utility ** beta``.

    That is the same as the highest log(utility) + Gumbel(0, 1 / beta).

    Args:
        utilities: Shape (N,), >= 0; 0 is never chosen.
        beta: Exponent, > 0.
        rng: Source of the noise.

    Returns:
        Place and utility, None if there is no utility above 0.
    """
    highest = pick_highest(utilities, rng)
    if highest is None or highest[1] <= 0:
        return None
    # Relative to the highest, so that no power of it overflows and one is always 1.
    chances = np.cumsum((utilities / highest[1]) ** beta)
    # Below the last sum, also when the product rounds up to it.
    ticket = min(rng.random() * chances[-1], np.nextafter(chances[-1], 0))
    place = int(np.searchsorted(chances, ticket, side="right"))
    return place, float(utilities[place])
