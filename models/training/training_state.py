"""All that a training needs to go on after a kill, in one file written at once."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor, nn
from torch.optim import Optimizer

from ..checkpoint import JsonValue, write_atomically
from ..network import NetworkConfig
from .dataset import TrainingCase
from .trainer_config import TrainerConfig

_PROGRESS = "progress"
"""Key of the JSON text in the file's metadata."""


@dataclass(frozen=True)
class TrainingState:
    """Tensors by name and everything else as JSON."""

    tensors: Mapping[str, Tensor]
    progress: Mapping[str, JsonValue]


def describe(
    network: NetworkConfig,
    trainer: TrainerConfig,
    initial_digest: str | None,
    training: Sequence[TrainingCase],
    validation: Sequence[TrainingCase],
) -> JsonValue:
    """Tell what must be equal for a state to be a training's."""
    return {
        "network": repr(network),
        "trainer": repr(asdict(trainer)),
        "initial": initial_digest,
        "training": [case.case_id for case in training],
        "new": [case.case_id for case in training if case.is_new],
        "validation": [case.case_id for case in validation],
    }


def write_state(path: Path, state: TrainingState) -> None:
    """Write the state; a crash leaves the previous one whole."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors.items()}
    text = json.dumps(dict(state.progress), allow_nan=False)
    write_atomically(path, save_tensors(tensors, metadata={_PROGRESS: text}))


def read_state(path: Path) -> TrainingState:
    """Read a state written by ``write_state``.

    Raises:
        ValueError: If the file is something else.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            progress = json.loads((file.metadata() or {})[_PROGRESS])
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{path.name} does not hold a training state: {error}") from error
    return TrainingState(tensors, progress)


def gather(
    modules: Mapping[str, nn.Module], optimizer: Optimizer, best: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Name all tensors of a training: of its modules, its optimiser and its best weights."""
    tensors = {f"best/{name}": tensor for name, tensor in best.items()}
    for prefix, module in modules.items():
        tensors |= {f"{prefix}/{name}": tensor for name, tensor in module.state_dict().items()}
    for number, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{number}/{name}": tensor for name, tensor in values.items()}
    return tensors


def put_back(
    modules: Mapping[str, nn.Module], optimizer: Optimizer, tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Put back what ``gather`` named; returns the best weights.

    The rates stay those of the optimiser.
    """
    for prefix, module in modules.items():
        module.load_state_dict(_with_prefix(prefix, tensors))
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in _with_prefix("optimizer", tensors).items():
        number, name = key.split("/")
        state.setdefault(int(number), {})[name] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    return _with_prefix("best", tensors)


def _with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Select the tensors of one part, without its prefix."""
    start = prefix + "/"
    return {
        name.removeprefix(start): tensor
        for name, tensor in tensors.items()
        if name.startswith(start)
    }
