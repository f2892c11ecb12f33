"""The weights of model versions, and the networks made of them."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from app.errors import DamagedWeightsError
from models import checkpoint
from models.checkpoint import Checkpoint
from models.memory import is_out_of_memory
from models.predictor import Predictor

_Read = TypeVar("_Read")


def load_predictor(path: Path, device: str) -> Predictor:
    """Return the network of a checkpoint, kept in memory for the next image.

    Raises:
        DamagedWeightsError: If the weights or their card are gone, or are not what was written.
    """
    return _read(path, lambda: _kept(path, device))


def read_checkpoint(path: Path) -> Checkpoint:
    """Return weights with what their card says.

    Raises:
        DamagedWeightsError: If the weights or their card are gone, or are not what was written.
    """
    return _read(path, lambda: checkpoint.load(path))


@lru_cache(maxsize=2)
def _kept(path: Path, device: str) -> Predictor:
    return Predictor(path, device)


def _read(path: Path, read: Callable[[], _Read]) -> _Read:
    try:
        return read()
    except FileNotFoundError:
        problem = "it, or the card beside it, is gone"
    except OSError as error:
        if is_out_of_memory(error):
            raise
        problem = f"it cannot be read ({error.strerror})"
    except (ValueError, KeyError, TypeError):
        problem = "it, or the card beside it, is not what was written"
    raise DamagedWeightsError(f"{path.parent.name}/{path.name}", problem)
