"""A process that predicts and trains with too little memory; prints what came of it as JSON.

Run as a module with ``predict`` or ``train`` and a folder as arguments.
"""

import json
import logging
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from models.checkpoint import Checkpoint, save
from models.memory import MemoryShortageError, room_on
from models.network import MultiTaskNetwork
from models.predictor import NetworkPrediction, Predictor
from models.training.dataset import TrainingCase
from models.training.trainer import Trainer
from models.training.trainer_config import TrainerConfig
from tests.models.cases import SPACING_MM, THRESHOLD_HU, planted_case, planted_volume, tiny_network
from tests.models.starving import at_most, need, size
from tests.models.test_network import lively_network

_SCARCE = 0.5
"""Share of what a prediction needs: too little for halves of its batches, enough for quarters."""

_SCARCE_TRAINING = 0.8
"""The same of a training, of whose needs a part is the same for any number of slices."""

_TINY = 0.12
"""Share that is too little for one slice."""

Found = dict[str, object]


class Counter(logging.Handler):
    """Counts the warnings."""

    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Count one."""
        self.count += 1


HU = np.tile(planted_volume(1)[0], (3, 2, 3))
"""Eighteen slices, each as large as six planted ones."""


def predict(predictor: Predictor) -> NetworkPrediction:
    """Predict all slices; samples, made slice by slice, would only take time."""
    return predictor.predict(
        HU, spacing_mm=SPACING_MM, threshold_hu=THRESHOLD_HU, samples=0, seed=0
    )


def large_case(seed: int) -> TrainingCase:
    """Make a case of slices as large as four planted ones."""
    case = planted_case(seed)
    assert case.region is not None
    assert case.lesion is not None
    larger = (1, 2, 2)
    return replace(
        case,
        hu=np.tile(case.hu, larger),
        region=np.tile(case.region, larger),
        lesion=np.tile(case.lesion, larger),
    )


def predicting(folder: Path, warnings: Counter) -> Found:
    """Predict with little memory, with next to none, and with enough."""
    network: MultiTaskNetwork = lively_network(tiny_network())
    path = folder / "weights.safetensors"
    save(path, Checkpoint(network.config, network.state_dict()))
    predictor = Predictor(path)
    # The first one takes what is kept for good.
    predict(predictor)
    needed = need(lambda: predict(predictor))
    with at_most(_SCARCE * needed):
        scarce = predict(predictor)
        first = warnings.count
        predict(predictor)
    again = warnings.count - first
    before = size()
    problem = ""
    with at_most(_TINY * needed):
        try:
            predict(predictor)
        except MemoryShortageError as error:
            problem = str(error)
    kept = size() - before
    room_on.cache_clear()
    enough = predict(Predictor(path))
    names = ("lesion", "region", "candidate_index", "artery")
    return {
        "same": [np.array_equal(getattr(scarce, name), getattr(enough, name)) for name in names],
        "lesion_voxels": int(enough.lesion.sum()),
        "first_warnings": first,
        "later_warnings": again,
        "problem": problem,
        "kept": kept,
        "needed": needed,
    }


def training(folder: Path, warnings: Counter) -> Found:
    """Train an epoch with little memory, one with next to none, and go on with enough."""
    network = replace(tiny_network(), stem_width=16, head_width=16)
    config = TrainerConfig(epochs=5, steps_per_epoch=1, batch_size=8)
    cases = [large_case(seed) for seed in (1, 2)]

    def make(name: str) -> Trainer:
        return Trainer(network, config, cases, [large_case(3)], folder / name)

    def epoch(trainer: Trainer) -> str:
        return trainer.run_epoch(lambda _: None, lambda: False).shortage

    make("warm").run_epoch(lambda _: None, lambda: False)
    trainer = make("scarce")
    needed = need(lambda: epoch(make("measured")))
    before = warnings.count
    with at_most(_SCARCE_TRAINING * needed):
        shortage = epoch(trainer)
    shrunk = warnings.count - before
    resumed = make("scarce")
    resumed.resume()
    went_on = epoch(resumed)
    before, problem = size(), ""
    with at_most(_TINY * needed):
        try:
            epoch(resumed)
        except MemoryShortageError as error:
            problem = str(error)
    kept = size() - before
    finite = [bool(torch.isfinite(tensor).all()) for tensor in trainer.weights.values()]
    return {
        "shortage": shortage,
        "shrunk": shrunk,
        "resumed_at": resumed.epoch,
        "went_on": went_on,
        "problem": problem,
        "kept": kept,
        "needed": needed,
        "epoch_afterwards": (epoch(resumed), resumed.epoch)[1],
        "is_finite": all(finite),
    }


def main(act: Callable[[Path, Counter], Found], folder: Path) -> None:
    """Do one of both."""
    torch.set_num_threads(1)
    warnings = Counter(logging.WARNING)
    logging.getLogger("models").addHandler(warnings)
    sys.stdout.write(json.dumps(act(folder, warnings)))


if __name__ == "__main__":
    main({"predict": predicting, "train": training}[sys.argv[1]], Path(sys.argv[2]))
