"""All that a training needs to go on after a kill, in one file written at once."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor, nn
from torch.optim import Optimizer

from ..checkpoint import JsonValue, write_atomically

_PROGRESS = "progress"
"""Key of the JSON text in the file's metadata."""


@dataclass(frozen=True)
class TrainingState:
    """Tensors by name and everything else as JSON."""

    tensors: Mapping[str, Tensor]
    progress: Mapping[str, JsonValue]


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


def module_tensors(prefix: str, module: nn.Module) -> dict[str, Tensor]:
    """Name the parameters and buffers of a module."""
    return {f"{prefix}/{name}": tensor for name, tensor in module.state_dict().items()}


def load_module(prefix: str, module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put back what ``module_tensors`` named."""
    module.load_state_dict(with_prefix(prefix, tensors))


def optimizer_tensors(prefix: str, optimizer: Optimizer) -> dict[str, Tensor]:
    """Name the running averages of an optimiser by parameter number."""
    return {
        f"{prefix}/{number}/{name}": tensor
        for number, values in optimizer.state_dict()["state"].items()
        for name, tensor in values.items()
    }


def load_optimizer(prefix: str, optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what ``optimizer_tensors`` named; the rates stay those of the optimiser."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in with_prefix(prefix, tensors).items():
        number, name = key.split("/")
        state.setdefault(int(number), {})[name] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Select the tensors of one part, without its prefix."""
    start = prefix + "/"
    return {
        name.removeprefix(start): tensor
        for name, tensor in tensors.items()
        if name.startswith(start)
    }
