"""An image that does not fit into memory costs nothing but its own prediction."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.arrays import AxialImage, axial_image
from app.prediction.devices import predict_with_room
from app.settings import Settings
from models.checkpoint import Checkpoint, save
from models.memory import MemoryShortageError
from models.predictor import NetworkPrediction, Predictor
from tests.factories import make_grid, make_volume
from tests.models.cases import tiny_network
from tests.models.starving import ENVIRONMENT
from tests.models.test_network import lively_network

_LONGEST_S = 280.0

SETTINGS = Settings(samples=2)


def test_the_other_images_of_a_job_are_predicted(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.app.prediction.starved", str(tmp_path)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, timeout=_LONGEST_S)
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    assert found["result"] == {"images": 2, "failed": 1}
    assert found["predicted"] == ["small"]
    assert found["problem"].startswith("predicting image large needs more memory than there is")


class FullDevice(Predictor):
    """A network on a device that has no memory left."""

    def predict(self, *_: Any, **__: Any) -> NetworkPrediction:
        raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    network = lively_network(tiny_network())
    save(tmp_path / "weights.safetensors", Checkpoint(network.config, network.state_dict()))
    return tmp_path / "weights.safetensors"


@pytest.fixture
def image() -> AxialImage:
    return axial_image(make_volume(make_grid((2, 32, 32))))


def test_a_full_device_gives_way_to_the_processor(path: Path, image: AxialImage) -> None:
    asked: list[str] = []

    def load(path: Path, device: str) -> Predictor:
        asked.append(device)
        return (Predictor if device == "cpu" else FullDevice)(path)

    found = predict_with_room(path, "cuda", image, SETTINGS, load=load)
    expected = predict_with_room(path, "cpu", image, SETTINGS)
    assert asked == ["cuda", "cpu"]
    np.testing.assert_array_equal(found.labels, expected.labels)


def test_a_full_processor_is_tried_once(path: Path, image: AxialImage) -> None:
    asked: list[str] = []

    def load(path: Path, device: str) -> Predictor:
        asked.append(device)
        return FullDevice(path)

    with pytest.raises(MemoryShortageError, match="out of memory"):
        predict_with_room(path, "cpu", image, SETTINGS, load=load)
    assert asked == ["cpu"]
