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
    try:
        network.load_state_dict(dict(before))
    except RuntimeError:
        raise ValueError(
            "the weights to start from belong to a network of another shape; start fresh"
        ) from None
    if config.start == "shrink_perturb":
        for name, parameter in network.named_parameters():
            parameter.mul_(config.shrink).add_(fresh[name], alpha=config.perturb)


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
