"""Networks from weights, the optimiser, and the moving average of the weights it finds."""

from collections.abc import Mapping

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


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the averaged weights and buffers a little towards the network's."""
    current = network.state_dict()
    for name, tensor in average.state_dict().items():
        if tensor.is_floating_point():
            tensor.lerp_(current[name], 1.0 - decay)
        else:
            tensor.copy_(current[name])
