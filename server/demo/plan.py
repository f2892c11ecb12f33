"""What the demonstration will do, fixed before it starts."""

from dataclasses import dataclass

import numpy as np

from app.errors import InvalidInputError

_FIRST_SHARE, _LAST_SHARE = 0.15, 0.75
"""Shares of the pool that are labeled after the first and after the last round."""

_FEWEST_LABELS = 3
"""Labels before the first training; with fewer there is hardly any calcium to learn from."""


@dataclass(frozen=True)
class DemoPlan:
    """Everything that decides what the demonstration does.

    Attributes:
        seed: Seed of the pool, of the trainings and of the ranking; the patients to test on
            come from the next seed.
        size: Voxels of a volume along (X, Y, Z).
        pool: Synthetic patients the annotator chooses from.
        test: Synthetic patients the model is judged on; the server never gets their labels.
        rounds: Rounds of labeling, training and judging.
        epochs: Epochs of each training.
        samples: Stochastic samples of each prediction; ten are enough to rank.
        profile: Network of the server, ``small`` or ``paper``.
        dicom_every: One patient in so many lies in the pool as a DICOM series, the others
            as NIfTI files.
    """

    seed: int = 7
    size: tuple[int, int, int] = (128, 128, 24)
    pool: int = 40
    test: int = 16
    rounds: int = 4
    epochs: int = 4
    samples: int = 10
    profile: str = "small"
    dicom_every: int = 8

    def __post_init__(self) -> None:
        """Refuse what cannot be played to its end.

        Raises:
            InvalidInputError: If a number is too small.
        """
        least = {"pool": 2 * _FEWEST_LABELS, "test": 2, "rounds": 1, "epochs": 1}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise InvalidInputError(
                    f"expected {name} of at least {bound}, got {getattr(self, name)}"
                )
        if len(set(self.label_goals)) < self.rounds:
            raise InvalidInputError(
                f"a pool of {self.pool} patients is too small for {self.rounds} rounds"
            )

    @property
    def test_seed(self) -> int:
        """Seed of the patients to test on."""
        return self.seed + 1

    @property
    def label_goals(self) -> tuple[int, ...]:
        """Labels in the store after each round, in equal steps over most of the pool."""
        shares = np.linspace(_FIRST_SHARE, _LAST_SHARE, self.rounds)
        if self.rounds == 1:
            shares = np.array([_LAST_SHARE])
        return tuple(max(round(share * self.pool), _FEWEST_LABELS) for share in shares.tolist())

    @property
    def size_text(self) -> str:
        """Size as people write it, such as ``128x128x24``."""
        return "x".join(str(side) for side in self.size)
