"""Weights on disk: a safetensors file and, beside it, a JSON card that tells what it is.

No other format is read: a pickle can run code when it is opened.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from .network import NetworkConfig
from .tasks import TaskSpec

JsonValue = str | int | float | bool | None | list["JsonValue"] | dict[str, "JsonValue"]
"""What JSON can hold."""

SUFFIX: Final = ".safetensors"
"""How the name of a weights file ends; its card has the same name ending in ``.json``."""

_FORMAT: Final = "caclabel-checkpoint-1"
"""Name and version of the card's layout."""


@dataclass(frozen=True)
class Checkpoint:
    """Weights with the shape of their network and what is known about them.

    Attributes:
        network: Shape of the network.
        weights: Parameters and buffers by name.
        facts: Whatever the caller wants to remember: labels used, metrics, code version.
    """

    network: NetworkConfig
    weights: Mapping[str, Tensor]
    facts: Mapping[str, JsonValue] = field(default_factory=dict)


def card_path(path: Path) -> Path:
    """Return where the card of the weights file ``path`` lies."""
    return path.with_suffix(".json")


def save(path: Path, checkpoint: Checkpoint) -> str:
    """Write a checkpoint, the card last, each file at once or not at all.

    Returns:
        The SHA-256 of the weights file in hexadecimal.

    Raises:
        ValueError: If ``path`` does not end in ``.safetensors`` or a fact is not JSON.
    """
    _check_suffix(path)
    content = save_tensors(
        {name: tensor.contiguous() for name, tensor in checkpoint.weights.items()}
    )
    digest = hashlib.sha256(content).hexdigest()
    card = {
        "format": _FORMAT,
        "sha256": digest,
        "network": asdict(checkpoint.network),
        "facts": dict(checkpoint.facts),
    }
    text = json.dumps(card, indent=2, allow_nan=False)
    write_atomically(path, content)
    write_atomically(card_path(path), text.encode())
    return digest


def load(path: Path) -> Checkpoint:
    """Read a checkpoint and check its weights against the hash on the card.

    Raises:
        ValueError: If it is not a checkpoint of this format or its files do not match.
        FileNotFoundError: If the weights or the card are missing.
    """
    _check_suffix(path)
    card = _read_card(card_path(path))
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != card["sha256"]:
        raise ValueError(f"weights {path.name} do not match the SHA-256 on their card")
    try:
        network = parse_network(_mapping(card["network"]))
        return Checkpoint(network, load_tensors(content), _mapping(card["facts"]))
    except (SafetensorError, KeyError, TypeError) as error:
        raise ValueError(f"{path.name} is not a checkpoint of format {_FORMAT}: {error}") from error


def parse_network(values: Mapping[str, JsonValue]) -> NetworkConfig:
    """Rebuild a network configuration from its JSON form.

    Raises:
        TypeError: If a field is unknown.
        ValueError: If no network can be built from the values.
    """
    tasks = [TaskSpec(**_fields(_mapping(task))) for task in _sequence(values["tasks"])]
    return NetworkConfig(**(_fields(values) | {"tasks": tuple(tasks)}))


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a crash leaves either the old content or the new one."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _check_suffix(path: Path) -> None:
    if path.suffix != SUFFIX:
        raise ValueError(f"weights must be in a {SUFFIX} file, got {path.name!r}")


def _read_card(path: Path) -> dict[str, JsonValue]:
    try:
        card = json.loads(path.read_text())
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"card {path.name} is not JSON: {error}") from error
    if not isinstance(card, dict) or card.get("format") != _FORMAT:
        raise ValueError(f"card {path.name} is not of format {_FORMAT}")
    return card


def _fields(values: Mapping[str, JsonValue]) -> dict[str, Any]:
    """Turn JSON into arguments; a wrong name raises TypeError, as in any other call."""
    return {name: _tuples(value) for name, value in values.items()}


def _tuples(value: JsonValue) -> object:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _mapping(value: JsonValue) -> dict[str, JsonValue]:
    if not isinstance(value, dict):
        raise TypeError(f"expected an object, got {value!r}")
    return value


def _sequence(value: JsonValue) -> list[JsonValue]:
    if not isinstance(value, list):
        raise TypeError(f"expected a list, got {value!r}")
    return value
