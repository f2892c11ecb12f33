"""What one training brought: how it is judged and what it says about the pool, in one file.

A training is named by everything it depends on: training arm, seed and the images whose
labels it got, and by what was asked of the model. Arms that agree on these share the file.
A file is written at once, so a run that was killed finds whole files or none.
"""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.prediction.prediction import Prediction
from app.store.files import write_durably


@dataclass(frozen=True)
class Unit:
    """One training to be done.

    Attributes:
        training: Training arm, see ``app.recipes.calcium``.
        seed: Seed of the weights and of all draws.
        places: Images of the pool whose labels are used, ascending.
        predicts_pool: Whether the pool is predicted, to choose the next labels.
        judges_strata: Whether the model is judged on the strata as well.
    """

    training: str
    seed: int
    places: tuple[int, ...]
    predicts_pool: bool = True
    judges_strata: bool = False

    @property
    def name(self) -> str:
        """Name of the unit's file, without its ending."""
        digest = hashlib.sha256(json.dumps(self.places).encode()).hexdigest()[:12]
        parts = "p" * self.predicts_pool + "s" * self.judges_strata
        return f"{self.training}-{self.seed}-{len(self.places):04d}-{digest}{parts and '-'}{parts}"

    def path(self, folder: Path) -> Path:
        """Return where the outcome is kept."""
        return folder / f"{self.name}.npz"


@dataclass(frozen=True, eq=False)
class PoolView:
    """What a model says about every image of the pool, shape (N, ...).

    Attributes:
        clinical_uncertainty: See ``strategies.base.Candidates``; so for the others.
        lesion_uncertainty: Shape (N,).
        agatston: Shape (N,).
        has_candidates: Shape (N,).
        entropy: Shape (N,).
        bald: Shape (N,).
        artery_entropy: Shape (N, 4).
        log_agatston: Shape (N, T).
        embedding: Shape (N, D).
        lesions: Lesions that are predicted, shape (N,).
    """

    clinical_uncertainty: NDArray[np.float64]
    lesion_uncertainty: NDArray[np.float64]
    agatston: NDArray[np.float64]
    has_candidates: NDArray[np.bool_]
    entropy: NDArray[np.float64]
    bald: NDArray[np.float64]
    artery_entropy: NDArray[np.float64]
    log_agatston: NDArray[np.float32]
    embedding: NDArray[np.float32]
    lesions: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a training brought.

    Attributes:
        tables: Rows of the patients by set, shape (P, C) each, see ``judging``.
        pool: What the model says about the pool; None where nothing is to be chosen.
        training_s: Processor seconds of the training.
        other_s: Processor seconds of predicting and judging.
    """

    tables: Mapping[str, NDArray[np.float64]]
    pool: PoolView | None
    training_s: float
    other_s: float


def pool_view(predictions: list[Prediction]) -> PoolView:
    """Put the predictions of the whole pool, in its order, into arrays."""
    measures = [found.uncertainty for found in predictions]
    totals = np.stack([found.agatston_samples.sum(axis=1) for found in predictions])
    return PoolView(
        clinical_uncertainty=np.array([found.clinical_uncertainty for found in predictions]),
        lesion_uncertainty=np.array([measure.lesion for measure in measures]),
        agatston=np.array([found.agatston for found in predictions]),
        has_candidates=np.array([found.has_candidates for found in predictions], dtype=np.bool_),
        entropy=np.array([measure.entropy for measure in measures]),
        bald=np.array([measure.foreground for measure in measures]),
        artery_entropy=np.array([measure.entropy_by_artery for measure in measures]),
        log_agatston=np.log1p(totals).astype(np.float32),
        embedding=np.stack([found.embedding for found in predictions]).astype(np.float32),
        lesions=np.array([found.scores.total.lesions for found in predictions], dtype=np.int64),
    )


def write_outcome(path: Path, outcome: Outcome) -> None:
    """Write an outcome; a crash leaves no part of it."""
    arrays = {f"table/{name}": table for name, table in outcome.tables.items()}
    if outcome.pool is not None:
        arrays |= {f"pool/{name}": array for name, array in vars(outcome.pool).items()}
    seconds = np.array([outcome.training_s, outcome.other_s])
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, seconds=seconds, **arrays)
    write_durably(path, buffer.getvalue())


def read_outcome(path: Path) -> Outcome:
    """Read an outcome."""
    with np.load(path) as file:
        parts: dict[str, dict[str, NDArray[np.float64]]] = {"table": {}, "pool": {}}
        for key in file.files:
            kind, _, name = key.partition("/")
            if name:
                parts[kind][name] = file[key]
        training_s, other_s = (float(value) for value in file["seconds"])
    pool = PoolView(**parts["pool"]) if parts["pool"] else None  # type: ignore[arg-type]  # as written
    return Outcome(parts["table"], pool, training_s, other_s)
