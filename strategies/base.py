"""What a strategy sees of the pool, and what it answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Options = Mapping[str, float]
"""Values of a strategy's options by name."""

_MEASURES = ("clinical_uncertainty", "lesion_uncertainty", "agatston", "entropy", "bald")

_TABLES = (
    "artery_entropy",
    "log_agatston",
    "embedding",
    "version_agatston",
    "version_clinical_uncertainty",
)


@dataclass(frozen=True, eq=False)
class Candidates:
    """Hold the unlabeled images a strategy may rank, one array element per image.

    Arrays have shape (N,), N images, or N rows, in the order in which the images came. Measures
    are read only where ``is_scored`` holds, and may be NaN elsewhere. A score of another model
    version than the active one is not comparable, so its image comes in with ``is_scored``
    False. What is None is not known; strategies that need it say so in ``Strategy.needs``.

    Attributes:
        clinical_uncertainty: Standard deviation of log(1 + Agatston) over the samples, >= 0.
        lesion_uncertainty: Mutual information of the lesions, weighted by the Agatston score
            at stake, in nats, >= 0.
        agatston: Predicted (median) Agatston score, >= 0.
        is_scored: Whether the active model version has scored the image.
        patient: Group number; images with the same number show the same patient.
        has_candidates: Whether a scored image has any voxel that may be calcium.
        entropy: Predictive entropy averaged over the candidate voxels, in nats, >= 0.
        bald: Mutual information averaged over the candidate voxels, in nats, >= 0.
        artery_entropy: ``entropy`` over the voxels of each artery, shape (N, 4): LM, LAD, LCX,
            RCA; >= 0.
        log_agatston: log(1 + total Agatston) of each sample, shape (N, T): T samples, whose
            masks are the same for all images; >= 0.
        embedding: Features of the image, shape (N, D); before there is a model, facts known
            without one.
        expected_seconds: Time an annotator will need, > 0, in seconds.
        has_artefact: Whether the image is spoilt by noise or metal.
        last_served: When the image was served last, -inf for never.
        version_agatston: Predicted Agatston score by each of the last model versions, shape
            (N, K), the active one first, NaN where a version has not scored the image.
        version_clinical_uncertainty: The same of ``clinical_uncertainty``.
        taken_embedding: Features of images that are labeled or lie with an annotator, shape
            (M, D).
        step: Trainings behind the active model version, 0 before the first and for it.
    """

    clinical_uncertainty: NDArray[np.float64]
    lesion_uncertainty: NDArray[np.float64]
    agatston: NDArray[np.float64]
    is_scored: NDArray[np.bool_]
    patient: NDArray[np.int64]
    has_candidates: NDArray[np.bool_]
    entropy: NDArray[np.float64] | None = None
    bald: NDArray[np.float64] | None = None
    artery_entropy: NDArray[np.float64] | None = None
    log_agatston: NDArray[np.float32] | None = None
    embedding: NDArray[np.float32] | None = None
    expected_seconds: NDArray[np.float64] | None = None
    has_artefact: NDArray[np.bool_] | None = None
    last_served: NDArray[np.float64] | None = None
    version_agatston: NDArray[np.float64] | None = None
    version_clinical_uncertainty: NDArray[np.float64] | None = None
    taken_embedding: NDArray[np.float32] | None = None
    step: int = 0

    def __post_init__(self) -> None:
        """Refuse arrays of different length, of the wrong kind, or with impossible measures."""
        for name, array in self._arrays():
            expected = (len(self), *array.shape[1:]) if name in _TABLES else (len(self),)
            if array.shape != expected or (name in _TABLES and array.ndim != 2):
                raise ValueError(f"expected {name} of shape {expected}, got {array.shape}")
        for name in ("is_scored", "has_candidates", "has_artefact"):
            mask = getattr(self, name)
            # An integer array would be taken for indices where a mask is meant.
            if mask is not None and mask.dtype != np.bool_:
                raise ValueError(f"expected {name} of type bool, got {mask.dtype}")
        if self.patient.dtype.kind not in "iu":
            raise ValueError(f"expected integer patient numbers, got {self.patient.dtype}")
        for name in (*_MEASURES, "artery_entropy", "log_agatston"):
            if (values := getattr(self, name)) is not None:
                _check_measure(name, values[self.is_scored])
        seconds = self.expected_seconds
        if seconds is not None and not (np.isfinite(seconds) & (seconds > 0)).all():
            raise ValueError("expected finite expected_seconds > 0")

    def __len__(self) -> int:
        """Return the number of images."""
        return self.is_scored.size

    def take(self, places: NDArray[np.int64]) -> "Candidates":
        """Return some of the images.

        Args:
            places: Indices of the images, shape (M,).
        """
        taken: dict[str, Any] = {name: array[places] for name, array in self._arrays()}
        return replace(self, **taken)

    def _arrays(self) -> list[tuple[str, NDArray[Any]]]:
        """Return the arrays that have an element per image, by name."""
        named = [(field.name, getattr(self, field.name)) for field in fields(self)]
        others = ("taken_embedding", "step")
        return [(name, array) for name, array in named if array is not None and name not in others]


@dataclass(frozen=True, eq=False)
class Turn:
    """A place of a batch that is to be filled.

    Attributes:
        is_open: Images that may be chosen, shape (N,).
        chosen: Images chosen before it in the same batch.
        place: Where in the batch it stands, in [0, 1), uniform over a batch: decides between
            several measures that share the batch.
        rng: Source of noise and of the order of equal images.
    """

    is_open: NDArray[np.bool_]
    chosen: Sequence[int]
    place: float
    rng: np.random.Generator


Pick = tuple[int, float]
"""Index of an image and its finite utility."""


class Ranking(Protocol):
    """A strategy's opinion of a pool, from which images are drawn one after the other.

    Attributes:
        needs_scores: Whether only scored images are ranked.
        is_random: Whether every image has a known chance, so that draws represent the pool.
    """

    @property
    def needs_scores(self) -> bool: ...  # noqa: D102 - see the class

    @property
    def is_random(self) -> bool: ...  # noqa: D102 - see the class

    def pick(self, turn: Turn) -> Pick | None:
        """Choose the next image; None if nothing open is worth more than a random draw."""
        ...


def _check_measure(name: str, scored: NDArray[np.floating]) -> None:
    wrong = scored[~(np.isfinite(scored) & (scored >= 0))]
    if wrong.size:
        raise ValueError(f"expected finite {name} >= 0 of every scored image, got {wrong[0]}")
