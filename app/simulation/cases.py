"""The oracle: every image of a simulation with its label, and what a label of it costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from app.calcium.score import calcium_scores
from app.errors import InvalidInputError
from app.evaluation import EvaluationCase
from app.simulation.costs import CostModel

POOL, VALIDATION, TEST = "pool", "validation", "test"
"""Names of the sets that every simulation has; validation patients serve all arms alike."""


@dataclass(frozen=True, eq=False)
class Oracle:
    """All images of a simulation.

    Attributes:
        sets: Images by set: ``POOL``, ``VALIDATION``, which may be empty, ``TEST``, and strata.
        patients: Patient of each image of the pool.
    """

    sets: Mapping[str, Sequence[EvaluationCase]]
    patients: Sequence[str]

    def __post_init__(self) -> None:
        """Refuse a pool or a test without images."""
        if not self.sets[POOL] or not self.sets[TEST]:
            raise InvalidInputError("a simulation needs images to choose from and images to test")

    @property
    def pool(self) -> Sequence[EvaluationCase]:
        """Images whose labels can be bought."""
        return self.sets[POOL]

    @property
    def validation(self) -> Sequence[EvaluationCase]:
        """Images by which a model chooses how sure of a lesion to be, the same for all arms."""
        return self.sets.get(VALIDATION, ())

    @property
    def judged(self) -> tuple[str, ...]:
        """Names of the sets that models are judged on."""
        return tuple(name for name in self.sets if name not in (POOL, VALIDATION))

    @cached_property
    def groups(self) -> NDArray[np.int64]:
        """Number of each pool image's patient, shape (N,)."""
        return np.unique(list(self.patients), return_inverse=True)[1].astype(np.int64)

    @cached_property
    def lesions(self) -> NDArray[np.int64]:
        """True lesions of each pool image, shape (N,)."""
        return np.array([_lesions(case) for case in self.pool], dtype=np.int64)

    @cached_property
    def costs(self) -> CostModel:
        """What a label costs, by the lesions of this pool."""
        return CostModel.of_pool(self.lesions)


def start_set(oracle: Oracle, count: int, seed: int, *, calcified: int = 2) -> tuple[int, ...]:
    """Draw the images that all arms of a seed begin with.

    At random, but for the first: without any calcium a first model learns nothing.

    Args:
        oracle: Images.
        count: How many to draw.
        seed: The same seed draws the same images.
        calcified: At least so many of them show calcium, or as many as the pool has.

    Returns:
        Places in the pool, ascending.
    """
    order = np.random.default_rng([seed, 0]).permutation(len(oracle.pool))
    with_calcium = order[oracle.lesions[order] > 0][: min(calcified, count)]
    others = order[~np.isin(order, with_calcium)][: count - with_calcium.size]
    return tuple(sorted(int(place) for place in (*with_calcium, *others)))


def check_budgets(oracle: Oracle, budgets: Sequence[int]) -> None:
    """Raise unless the pool has more images than the last budget buys."""
    if budgets[-1] >= len(oracle.pool):
        raise InvalidInputError(
            f"expected a pool of more than {budgets[-1]} images to choose from, got"
            f" {len(oracle.pool)}"
        )


def _lesions(case: EvaluationCase) -> int:
    image = case.image
    scores = calcium_scores(image.hu, case.labels, spacing_mm=image.spacing_mm, kvp=image.kvp)
    return scores.total.lesions
