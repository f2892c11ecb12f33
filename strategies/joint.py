"""A strategy that chooses what tells most about the scores of all images together.

The samples of a model have the same masks for every image, so the scores of two images
vary together over the samples when they hang on the same doubt. Labeling one then settles
part of the other, and an image that a batch has settled is not worth labeling any more.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from strategies.base import Candidates, Options, Pick, Turn
from strategies.ranking import ByUtility, pick_highest, worth_labeling
from strategies.strategy import Option

NOISE_OPTIONS: dict[str, Option] = {"label_noise": Option(0.1, 0.001, 10.0)}
"""Standard deviation of log(1 + Agatston) between annotators."""

SHORTLIST = 512
"""Images of the largest spread that are looked at; the spread of the others is little to gain."""


@dataclass(frozen=True, eq=False)
class Joint:
    """Rank by the drop in the variance of the scores that a label would bring.

    The covariance of images i and j is ``z_i P z_j`` plus, where i = j, ``own_i``.

    Attributes:
        factors: z: deviation of each sample from the image's mean, shape (N, T).
        own: Variance of each image that it shares with no other, shape (N,).
        prior: P before any label of the batch, shape (T, T).
        noise: Variance of a label.
    """

    factors: NDArray[np.float64]
    own: NDArray[np.float64]
    prior: NDArray[np.float64]
    noise: float
    needs_scores: bool = True
    is_random: bool = False

    def pick(self, turn: Turn) -> Pick | None:
        """Choose the image of the largest drop, given that the batch is labeled."""
        return pick_highest(np.where(turn.is_open, self.drops(turn.chosen), -np.inf), turn.rng)

    def drops(self, chosen: Sequence[int]) -> NDArray[np.float64]:
        """Return by how much a label of each image lowers the sum of the others' variances.

        Images that are chosen count no more in the sum.

        Args:
            chosen: Images whose labels are taken as known.

        Returns:
            Drops, shape (N,), >= 0; meaningless for images that are chosen.
        """
        posterior = self.prior
        for place in chosen:
            reach = posterior @ self.factors[place]
            total = self.factors[place] @ reach + self.own[place] + self.noise
            posterior = posterior - np.outer(reach, reach) / total
        left = np.delete(self.factors, list(chosen), axis=0)
        reaches = self.factors @ posterior
        shared = np.einsum("nt,nt->n", reaches, self.factors)
        # Sum over j of cov(i, j)^2: z_i P (sum of z_j z_j') P z_i, as long as j is not i.
        squares = np.einsum("nt,nt->n", reaches @ (left.T @ left), reaches)
        squares += (shared + self.own) ** 2 - shared**2
        drops: NDArray[np.float64] = np.maximum(squares / (shared + self.own + self.noise), 0.0)
        return drops


def rank_joint(candidates: Candidates, options: Options) -> Joint | ByUtility:
    """Rank by the joint distribution of the scores over the samples.

    Covariances are shrunk towards zero by as much as their squares are chance, see
    ``chance_share``.
    """
    if candidates.log_agatston is None:
        return ByUtility(np.full(len(candidates), -np.inf))
    samples = candidates.log_agatston.astype(np.float64)
    samples[~worth_labeling(candidates)] = 0.0
    factors = samples - samples.mean(axis=1, keepdims=True)
    degrees = samples.shape[1] - 1
    share = chance_share(factors)
    return Joint(
        factors,
        own=share * (factors**2).sum(axis=1) / degrees,
        prior=(1 - share) / degrees * np.eye(degrees + 1),
        noise=options["label_noise"] ** 2,
    )


def widest_spread(candidates: Candidates) -> NDArray[np.int64]:
    """Return the images whose scores vary most over the samples, at most ``SHORTLIST``."""
    ranked = np.flatnonzero(worth_labeling(candidates))
    if ranked.size <= SHORTLIST:
        return ranked
    spread = candidates.clinical_uncertainty[ranked]
    return np.sort(ranked[np.argpartition(spread, -SHORTLIST)[-SHORTLIST:]])


def chance_share(factors: NDArray[np.float64]) -> float:
    """Tell which part of the squared correlations between images is due to few samples.

    The squared correlation of two independent images over T samples is 1 / (T - 1) on average.

    Args:
        factors: Deviation of each sample from the image's mean, shape (N, T).

    Returns:
        Share in [0, 1] by which correlations are shrunk; 1 where there are no pairs.

    References:
        Schäfer and Strimmer 2005, https://doi.org/10.2202/1544-6115.1175.
    """
    length = np.linalg.norm(factors, axis=1)
    unit = factors[length > 0] / length[length > 0, None]
    pairs = len(unit) * (len(unit) - 1)
    # The squared norm of the (T, T) product is that of the (N, N) one; N of it are of i = j.
    squares = float(np.square(unit.T @ unit).sum()) - len(unit)
    by_chance = pairs / max(factors.shape[1] - 1, 1)
    return 1.0 if squares <= by_chance else by_chance / squares
