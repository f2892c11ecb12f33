"""What the samples of a prediction cost, beside one deterministic pass and bare PyTorch."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from app.calcium.candidates import candidate_mask, threshold_hu
from app.calcium.phantom import phantom_patient
from app.imaging.volume import Volume
from models.checkpoint import Checkpoint, save
from models.dropout import Masks, seeded_masks
from models.inputs import AIR_HU, find_content, network_input, padded_size, take_slab
from models.network import MultiTaskNetwork, NetworkConfig, paper_network
from models.predictor import Predictor
from server.bench.figures import Figure, Section, time_calls
from server.bench.scale import Scale

_SEED = 0
_RUNS = 3
_NOWHERE = -1e3
"""Logit of the background that makes random weights see an artery region everywhere."""


def measure(scale: Scale) -> Section:
    """Predict one volume with random weights: time does not depend on what was learned.

    Only which candidates are within reach of an artery does, and random weights would reach
    none or all. They are made to reach all: the dearest case.
    """
    torch.set_num_threads(os.cpu_count() or 1)
    scale.narrator.progress("making a large synthetic patient")
    volume = phantom_patient(1, 0, (scale.side, scale.side, scale.slices)).volume
    network = _network()
    predictor = _predictor(network, scale.folder / "prediction-cost")
    scale.narrator.progress("predicting with the network of the paper")
    bare = _best(lambda: _bare_passes(network, volume, None))
    masks = seeded_masks(network.config.dropout_sites(), 1, _SEED)
    stochastic = _best(lambda: _bare_passes(network, volume, masks))
    plain = _best(lambda: _predict(predictor, volume, samples=0))
    sampled = _best(lambda: _predict(predictor, volume, samples=scale.samples), runs=1)
    size = f"{scale.side}x{scale.side}x{scale.slices}"
    return Section(
        "prediction-cost",
        "Cost of a prediction with samples",
        f"One synthetic patient of {size} voxels, network of the paper with random weights that"
        f" reach every candidate (the dearest case), {torch.get_num_threads()} threads.",
        (
            Figure("bare PyTorch, one forward pass over all slices", bare, "s"),
            Figure("bare PyTorch, one pass with dropout", stochastic, "s"),
            Figure("prediction without samples", plain, "s"),
            Figure(f"prediction with {scale.samples} samples", sampled, "s", "one run"),
            Figure(f"{scale.samples} samples / prediction without", sampled / plain, "x"),
            Figure(f"{scale.samples} samples / bare forward pass", sampled / bare, "x"),
            Figure(
                f"{scale.samples} bare passes with dropout / bare forward pass",
                scale.samples * stochastic / bare,
                "x",
                "what plain MC dropout costs",
            ),
        ),
    )


def reach_everything(network: nn.Module) -> None:
    """Set the region head's background so low that every voxel belongs to some artery."""
    output = network.get_submodule("heads.region.output")
    last = [module for module in output.modules() if isinstance(module, nn.Conv2d)][-1]
    with torch.no_grad():
        if last.bias is None:
            raise ValueError("expected the last convolution of the region head to have a bias")
        last.bias[0] = _NOWHERE


def _network() -> MultiTaskNetwork:
    torch.manual_seed(_SEED)
    network = MultiTaskNetwork(paper_network())
    reach_everything(network)
    return network.eval()


def _predictor(network: MultiTaskNetwork, folder: Path) -> Predictor:
    folder.mkdir(parents=True)
    path = folder / "random.safetensors"
    save(path, Checkpoint(network.config, network.state_dict()))
    return Predictor(path, "cpu")


def _predict(predictor: Predictor, volume: Volume, *, samples: int) -> None:
    predictor.predict(
        volume.hu,
        spacing_mm=volume.spacing_mm,
        threshold_hu=threshold_hu(volume.kvp),
        samples=samples,
        seed=_SEED,
    )


@torch.inference_mode()
def _bare_passes(network: MultiTaskNetwork, volume: Volume, masks: Masks | None) -> None:
    """Run the network over every slice, one at a time, and do nothing with the result."""
    config = network.config
    candidates = candidate_mask(volume.hu, threshold_hu(volume.kvp))
    content = find_content(volume.hu)
    hu, found = volume.hu[content.index], candidates[content.index]
    padding = _padding(hu.shape, config)
    hu = np.pad(hu, padding, constant_values=AIR_HU)
    found = np.pad(found, padding)
    fast = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # memory_format is missing in the stub
    for index in range(hu.shape[0]):
        slab = take_slab(hu, index, config.neighbours)
        fast(network_input(slab[None], found[index : index + 1], config), masks)


def _padding(shape: tuple[int, ...], config: NetworkConfig) -> list[tuple[int, int]]:
    height, width = padded_size((shape[1], shape[2]), config.multiple)
    return [(0, 0), (0, height - shape[1]), (0, width - shape[2])]


def _best(run: Callable[[], object], runs: int = _RUNS) -> float:
    """Return the seconds of the fastest run; the others were disturbed."""
    return min(time_calls(run, runs))
