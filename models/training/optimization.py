"""Networks from weights, the optimiser, and the moving average of the weights it finds."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from ..network import MultiTaskNetwork, NetworkConfig


def make_optimizer(
    network: nn.Module, weighting: nn.Module, *, rate: float, weight_decay: float
) -> torch.optim.AdamW:
    """Make the optimiser of a network and its task weights.

    Biases, normalisation and task weights do not decay: decay would pull every task's
    weight to one.
    """
    parameters = list(network.parameters())
    decayed = [parameter for parameter in parameters if parameter.ndim > 1]
    spared = [parameter for parameter in parameters if parameter.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": [*spared, *weighting.parameters()], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate)


def load_network(
    config: NetworkConfig, weights: Mapping[str, Tensor], device: torch.device
) -> MultiTaskNetwork:
    """Build a network in evaluation mode with given parameters and buffers on a device."""
    with torch.random.fork_rng(devices=[]):
        network = MultiTaskNetwork(config)
    network.load_state_dict(dict(weights))
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # memory_format is missing in the stub
    return network.eval()


def copy_weights(module: nn.Module) -> dict[str, Tensor]:
    """Copy the parameters and buffers of a module to the CPU."""
    return {name: tensor.detach().cpu().clone() for name, tensor in module.state_dict().items()}


def copy_buffers(module: nn.Module) -> list[Tensor]:
    """Copy the buffers of a module, such as the running statistics of its normalisation."""
    return [buffer.clone() for buffer in module.buffers()]


@torch.no_grad()
def put_back_buffers(module: nn.Module, kept: Sequence[Tensor]) -> None:
    """Make the buffers of a module what they were when ``copy_buffers`` copied them."""
    for buffer, before in zip(module.buffers(), kept, strict=True):
        buffer.copy_(before)


@torch.no_grad()
def are_finite(tensors: Iterable[Tensor]) -> bool:
    """Tell whether every number of some tensors is finite; one answer from the device."""
    # A sum is finite only if every term is, and far quicker than a look at each tensor.
    sums = [tensor.sum(dtype=torch.float64) for tensor in tensors]
    return not sums or bool(torch.isfinite(torch.stack(sums)).all())


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the averaged weights and buffers a little towards the network's."""
    current = network.state_dict()
    for name, tensor in average.state_dict().items():
        if tensor.is_floating_point():
            tensor.lerp_(current[name], 1.0 - decay)
        else:
            tensor.copy_(current[name])
