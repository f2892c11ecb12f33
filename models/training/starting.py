"""Beginning a training at, or near, the weights of the version before."""

import hashlib
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from .trainer_config import TrainerConfig


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of named tensors in hexadecimal, whatever their order."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@torch.no_grad()
def begin_near(network: nn.Module, before: Mapping[str, Tensor], config: TrainerConfig) -> None:
    """Move a freshly initialised network to where ``config.start`` says.

    Running statistics are taken over as they are; after a shrinking they fit the weights no
    more, see ``recalculate_normalization``.

    Args:
        network: Network with fresh weights.
        before: Parameters and buffers of the version before.
        config: Kind of start and its factors.

    Raises:
        ValueError: If the weights before belong to a network of another shape.
    """
    fresh = {name: tensor.detach().clone() for name, tensor in network.named_parameters()}
    own = network.state_dict()
    wanted = _shared_names(own, before) if config.start == "transfer" else set(own)
    found = dict(before) if config.start != "transfer" else _only(before, wanted)
    if _shapes(_only(own, wanted)) != _shapes(found):
        raise ValueError(
            "the weights to start from belong to a network of another shape; start fresh"
        )
    network.load_state_dict(own | found)
    if config.start == "shrink_perturb":
        for name, parameter in network.named_parameters():
            parameter.mul_(config.shrink).add_(fresh[name], alpha=config.perturb)


def _shared_names(own: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> set[str]:
    """Name all tensors of the encoder and of the heads that both networks have."""
    shared = {"encoder"} | {_part(name) for name in before}
    return {name for name in own if _part(name) in shared}


def _part(name: str) -> str:
    """Return ``encoder`` or ``heads.<task>``."""
    first, second, *_ = name.split(".")
    return first if first == "encoder" else f"{first}.{second}"


def _only(tensors: Mapping[str, Tensor], names: set[str]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if name in names}


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}


@torch.no_grad()
def recalculate_normalization(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace the running statistics of batch normalisation by the mean over ``batches``.

    Args:
        network: Network that is run on each batch; its mode is left as it was.
        batches: Inputs, each of shape (N, C, Y, X).
    """
    layers = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        # Without a momentum the statistics are the plain mean over the batches.
        layer.momentum = None
    was_training = network.training
    network.train()
    for inputs in batches:
        network(inputs)
    network.train(was_training)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
