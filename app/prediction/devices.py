"""Predicting where there is room: on the worker's device, else on the processor."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

from app.arrays import AxialImage
from app.prediction.prediction import Prediction, predict
from app.prediction.weights import load_predictor
from app.settings import Settings
from models.memory import MemoryShortageError, Shortage, attempt
from models.predictor import Predictor

logger = logging.getLogger(__name__)


def predict_with_room(
    path: Path,
    device: str,
    image: AxialImage,
    settings: Settings,
    on_progress: Callable[[float], None] | None = None,
    *,
    load: Callable[[Path, str], Predictor] = load_predictor,
) -> Prediction:
    """Predict an image, on the processor where the device has no memory for a single slice.

    The device is tried again for the next image: another program may have had its memory.

    Args:
        path: Weights of the model version.
        device: PyTorch device name.
        image: The image.
        settings: Settings of the deployment.
        on_progress: Told the finished fraction of the slices; may raise to end the prediction.
        load: Makes the network of weights on a device.

    Raises:
        DamagedWeightsError: If the weights cannot be used.
        MemoryShortageError: If the processor has no room either.
    """
    problem = ""
    for place in dict.fromkeys((device, "cpu")):
        found = attempt(partial(_predict, load, path, place, image, settings, on_progress))
        if not isinstance(found, Shortage):
            return found
        problem = found.problem
        logger.warning("no memory to predict on %s: %s", place, problem)
    raise MemoryShortageError(problem)


def _predict(
    load: Callable[[Path, str], Predictor],
    path: Path,
    device: str,
    image: AxialImage,
    settings: Settings,
    on_progress: Callable[[float], None] | None,
) -> Prediction:
    return predict(load(path, device), image, settings, on_progress)
