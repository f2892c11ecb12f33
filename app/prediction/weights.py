"""Where the weights of model versions lie, and the networks made of them."""

from functools import lru_cache
from pathlib import Path

from app.settings import Settings
from models.predictor import Predictor


def checkpoint_path(settings: Settings, job_id: str) -> Path:
    """Return where the weights of the model version trained by a job lie."""
    return settings.data / "models" / f"{job_id}.safetensors"


@lru_cache(maxsize=2)
def load_predictor(path: Path, device: str) -> Predictor:
    """Return the network of a checkpoint, kept in memory for the next image."""
    return Predictor(path, device)
