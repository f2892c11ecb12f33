"""Coronary calcium: artery regions (weak labels) and calcium (strong labels), trained jointly.

After Foellmer et al. 2022, https://doi.org/10.1002/mp.15870.
"""

from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from app.arrays import AxialImage
from app.calcium.labels import ARTERIES, CALCIUM_LABELS, REGION_LABELS
from app.errors import InvalidInputError
from app.settings import Settings
from models.network import NetworkConfig, paper_network, small_network
from models.predictor import NetworkPrediction
from models.training.dataset import TrainingCase
from models.training.trainer_config import TrainerConfig

MODEL: Final = "calcium"
"""Name of the model on the wire; without a space, which clients would turn into a plus."""

Arm = Literal["joint_uncertainty", "joint_fixed", "single_task", "sequential"]
"""Ways of training that the paper compares, see ``training_stages``."""

_PATIENCE_EPOCHS: Final = 12
"""Epochs without a better validation loss after which a training ends.

Not fewer: while the rate falls, a training gets better until its end."""

_PAPER_TRAINING: Final = TrainerConfig(
    epochs=60, steps_per_epoch=100, batch_size=8, peak_rate=4e-3, patience=_PATIENCE_EPOCHS
)
"""Eight slices of 512 x 512 a batch; the small network's rate is too high for 8 halvings."""

_SMALL_TRAINING: Final = TrainerConfig(patience=_PATIENCE_EPOCHS)
"""Twenty epochs, about eight minutes of one processor core."""

_FIRST_REGION = REGION_LABELS[f"{ARTERIES[0]}_region"]


def network_config(settings: Settings) -> NetworkConfig:
    """Return the network of the deployment's profile."""
    return paper_network() if settings.profile == "paper" else small_network()


def trainer_config(settings: Settings, *, max_epochs: int, device: str) -> TrainerConfig:
    """Return how the network is trained; ``max_epochs`` 0 leaves the profile's number."""
    planned = _PAPER_TRAINING if settings.profile == "paper" else _SMALL_TRAINING
    epochs = max_epochs or settings.max_epochs or planned.epochs
    return replace(planned, epochs=epochs, seed=settings.seed, device=device)


@dataclass(frozen=True)
class TrainingStage:
    """One training of a chain; each begins with the best weights of the one before.

    Attributes:
        network: Network to train.
        trainer: How it is trained.
    """

    network: NetworkConfig
    trainer: TrainerConfig


def training_stages(
    arm: str, network: NetworkConfig, trainer: TrainerConfig
) -> tuple[TrainingStage, ...]:
    """Describe how an arm of the paper's comparison is trained.

    ``joint_uncertainty`` is what a deployment trains. ``joint_fixed`` weighs both losses one.
    ``single_task`` trains the encoder and a lesion head that reads no region features; the
    region head stays untrained, so only total scores mean anything, not the arteries.
    ``sequential`` trains the encoder and the region head first, then the lesion head on what
    both of them found, which stays as it is. Every stage has all the batches of ``trainer``:
    the two of the last arm have one head each and together cost about one joint training.

    Args:
        arm: Name of the arm.
        network: Network of the deployment, with the tasks region and lesion.
        trainer: How the deployment trains it, from fresh weights.

    Raises:
        InvalidInputError: If the arm is not known.
    """
    region, lesion = network.task("region"), network.task("lesion")
    fixed = replace(trainer, weighting="fixed")
    if arm == "joint_uncertainty":
        return (TrainingStage(network, replace(trainer, weighting="homoscedastic")),)
    if arm == "joint_fixed":
        return (TrainingStage(network, fixed),)
    if arm == "single_task":
        alone = replace(network, tasks=(region, replace(lesion, fed_by=())))
        return (TrainingStage(alone, replace(fixed, schedule="alternating", turns={"region": 0})),)
    if arm == "sequential":
        second = replace(fixed, schedule="independent", turns={"region": 0}, start="transfer")
        return (
            TrainingStage(replace(network, tasks=(region,)), fixed),
            TrainingStage(network, second),
        )
    raise InvalidInputError(f"no training arm {arm!r}; known: {', '.join(get_args(Arm))}")


def training_case(
    case_id: str,
    image: AxialImage,
    label: NDArray[np.uint8],
    *,
    covers_calcium: bool,
    covers_regions: bool,
) -> TrainingCase:
    """Split a canonical label map, shape (Z, Y, X), into the tasks it covers."""
    return TrainingCase(
        hu=image.hu,
        region=artery_of_voxels(label) if covers_regions else None,
        lesion=is_calcium(label).astype(np.uint8) if covers_calcium else None,
        spacing_mm=image.spacing_mm,
        threshold_hu=image.threshold_hu,
        case_id=case_id,
    )


def is_calcium(label: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Mark the calcified voxels of a canonical label map."""
    marked: NDArray[np.bool_] = (label > 0) & (label <= max(CALCIUM_LABELS.values()))
    return marked


def artery_of_voxels(label: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return 0 or the artery 1 to 4 whose region, calcium included, a voxel lies in."""
    # Regions follow the calcium labels in the same order of arteries.
    return np.where(label >= _FIRST_REGION, label - np.uint8(len(ARTERIES)), label).astype(np.uint8)


def label_map(prediction: NetworkPrediction) -> NDArray[np.uint8]:
    """Put a prediction into canonical label values, shape (Z, Y, X); calcium wins."""
    region = prediction.region
    values = np.where(region > 0, region + np.uint8(len(ARTERIES)), 0)
    return np.where(prediction.lesion, region, values).astype(np.uint8)


def code_version() -> str:
    """Return the version of the code that a checkpoint was made by."""
    return version("caclabel")
