"""The deterministic pass over slices: by PyTorch, or by OpenVINO where it is installed.

OpenVINO (``pip install caclabel[openvino]``) took two thirds of the time on a processor and
gives the same values but for rounding. Samples are always decoded by PyTorch, from what
this pass computed.
"""

import importlib.util
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch
from torch import Tensor, nn

from .network import DecoderState, MultiTaskNetwork
from .tail import prefix_level

Outcome = tuple[DecoderState, Mapping[str, Tensor]]
"""State decoded to the level where samples begin, and the logits of every task."""


class DeterministicPass(Protocol):
    """Runs a network over a batch of slices without dropping anything."""

    def __call__(self, inputs: Tensor, /) -> Outcome:
        """Return the state where samples begin and the logits of shape (N, classes, Y, X)."""
        ...


def make_pass(network: MultiTaskNetwork) -> DeterministicPass:
    """Return the fastest pass that is installed for the network's device."""
    on_processor = next(network.parameters()).device.type == "cpu"
    return OpenVinoPass(network) if on_processor and has_openvino() else TorchPass(network)


def has_openvino() -> bool:
    """Tell whether OpenVINO is installed."""
    return importlib.util.find_spec("openvino") is not None


def precision(device: torch.device) -> AbstractContextManager[object]:
    """Return the arithmetic of predictions: 16 bits where a GPU has units for them."""
    if device.type != "cuda":
        return nullcontext()
    dtype = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.autocast("cuda", dtype=dtype)


class TorchPass:
    """The pass by PyTorch."""

    def __init__(self, network: MultiTaskNetwork) -> None:
        """Keep a network in evaluation mode."""
        self._network = network
        self._level = prefix_level(network.config)

    def __call__(self, inputs: Tensor, /) -> Outcome:
        """Run the pass."""
        prefix = self._network.decode(self._network.encode(inputs), until=self._level)
        return prefix, self._network.logits(self._network.decode(prefix))


class OpenVinoPass:
    """The pass by OpenVINO, compiled when it is built, for slices of any size."""

    def __init__(self, network: MultiTaskNetwork) -> None:
        """Convert a network in evaluation mode."""
        import openvino

        flat = _FlatPass(network)
        side, channels = network.config.multiple, network.config.in_channels
        example = torch.zeros(1, channels, side, side)
        with warnings.catch_warnings():
            # OpenVINO traces by a function that PyTorch wants to retire, and says so itself.
            warnings.simplefilter("ignore")
            model = openvino.convert_model(flat, example_input=example)
        model.reshape([-1, channels, -1, -1])
        self._keys = flat.keys
        self._level = prefix_level(network.config)
        self._tasks = [task.name for task in network.config.tasks]
        self._compiled = openvino.compile_model(
            model,
            "CPU",
            {
                "INFERENCE_NUM_THREADS": torch.get_num_threads(),
                # Without it processors with 16-bit units round to them.
                "INFERENCE_PRECISION_HINT": "f32",
            },
        )

    def __call__(self, inputs: Tensor, /) -> Outcome:
        """Run the pass."""
        results = self._compiled([inputs.contiguous().numpy()])
        tensors = [torch.from_numpy(results[place]) for place in range(len(results))]
        logits = dict(zip(self._tasks, tensors, strict=False))
        decoded = dict(zip(self._keys, tensors[len(logits) :], strict=False))
        features = tuple(tensors[len(logits) + len(decoded) :])
        return DecoderState(inputs, features, decoded, self._level), logits


class _FlatPass(nn.Module):
    """The pass with a flat list of results: logits, decoded features, encoder features."""

    def __init__(self, network: MultiTaskNetwork) -> None:
        super().__init__()
        self.network = network
        self._level = prefix_level(network.config)
        self.keys = [
            (task.name, max(self._level, task.stop_level))
            for task in network.config.tasks
            if self._level < network.config.levels
        ]

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        prefix = self.network.decode(self.network.encode(inputs), until=self._level)
        logits = self.network.logits(self.network.decode(prefix))
        return (*logits.values(), *(prefix.decoded[key] for key in self.keys), *prefix.features)
