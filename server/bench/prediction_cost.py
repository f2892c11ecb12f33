"""What the samples of a prediction cost, beside one deterministic pass and bare PyTorch."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import nn

from app.calcium.candidates import threshold_hu
from app.calcium.phantom import Phantom, phantom_patient
from models.candidates import REACH_MM
from models.checkpoint import Checkpoint, save
from models.dropout import Masks, seeded_masks
from models.inputs import AIR_HU, find_content, network_input, padded_size, take_slab
from models.network import MultiTaskNetwork, paper_network
from models.predictor import Predictor
from server.bench.figures import Figure, Section
from server.bench.scale import Scale

_SEED: Final = 0
_NEVER: Final = -1e3
"""Logit that makes random weights never say something."""

_EVERY: Final = 5
"""One slice in five is measured: the network of the paper sees each slice alone."""


@dataclass(frozen=True)
class _Seconds:
    """How long something took, on the clock and summed over the processor's cores."""

    wall: float
    processor: float


@dataclass(frozen=True)
class _Cost:
    """One volume: the bare network, the prediction without and with samples."""

    bare: _Seconds
    plain: _Seconds
    sampled: _Seconds


def measure(scale: Scale) -> Section:
    """Predict volumes with random weights: time does not depend on what was learned.

    Only which candidates are within reach of an artery does, and which bone is in doubt. Random
    weights are made to see an artery everywhere, and of the candidates only those within reach
    of a true region are left in the volume: the network then samples what one with right
    regions samples. They are made sure that nothing is calcium, as a trained network is of
    bone: the bone that a trained network doubts adds a thousandth to what is decoded.
    """
    torch.set_num_threads(os.cpu_count() or 1)
    network = _network()
    never_say(network, "lesion", 1)
    predictor = _predictor(network, scale.folder / "prediction-cost")
    costs = []
    for phantom in _patients(scale):
        hu = within_reach(phantom)[::_EVERY]
        costs.append(_cost(network, predictor, hu, phantom, scale.samples))
        scale.narrator.progress(f"predicting patients, {len(costs)} of {scale.patients}")
    dearest = _dearest(network, predictor, scale)
    return Section(
        "prediction-cost",
        "Cost of a prediction with samples",
        f"{len(costs)} synthetic patients of {scale.side}x{scale.side}x{scale.slices} voxels (made"
        f" at half the resolution), one slice in {_EVERY}; network of the paper with random"
        f" weights, candidates within {REACH_MM:g} mm of a true artery region;"
        f" {torch.get_num_threads()} threads. With samples means {scale.samples} with both heads"
        f" stochastic and {scale.samples // 2} with each alone.",
        (*_figures(costs, scale), *dearest),
    )


def within_reach(phantom: Phantom) -> NDArray[np.int16]:
    """Return the volume without the candidates that no true artery region is near to."""
    spacing = phantom.volume.spacing_mm
    sides = [1, *(2 * int(REACH_MM / step) + 1 for step in spacing[1:])]
    near = ndimage.maximum_filter((phantom.labels > 0).view(np.uint8), size=sides)
    lowered = np.minimum(phantom.volume.hu, threshold_hu(phantom.volume.kvp) - 1)
    kept: NDArray[np.int16] = np.where(near, phantom.volume.hu, lowered).astype(np.int16)
    return kept


def never_say(network: nn.Module, task: str, value: int) -> None:
    """Set the logit of one class of a head so low that it is never the answer."""
    output = network.get_submodule(f"heads.{task}.output")
    last = [module for module in output.modules() if isinstance(module, nn.Conv2d)][-1]
    with torch.no_grad():
        if last.bias is None:
            raise ValueError(f"expected the last convolution of head {task} to have a bias")
        last.bias[value] = _NEVER


def _figures(costs: list[_Cost], scale: Scale) -> tuple[Figure, ...]:
    sampled = f"{scale.samples} samples / prediction without"
    return (
        _median("bare PyTorch, one forward pass", costs, lambda cost: cost.bare.wall, "s"),
        _median("prediction without samples", costs, lambda cost: cost.plain.wall, "s"),
        _median("prediction with samples", costs, lambda cost: cost.sampled.wall, "s"),
        _median(sampled, costs, lambda cost: cost.sampled.wall / cost.plain.wall),
        _median(
            f"{sampled}, processor time",
            costs,
            lambda cost: cost.sampled.processor / cost.plain.processor,
        ),
        Figure(
            f"{sampled}, processor time, dearest patient",
            max(cost.sampled.processor / cost.plain.processor for cost in costs),
            "x",
        ),
        _median(
            "prediction without / bare forward pass, processor time",
            costs,
            lambda cost: cost.plain.processor / cost.bare.processor,
        ),
    )


def _median(
    name: str, costs: list[_Cost], value: Callable[[_Cost], float], unit: str = "x"
) -> Figure:
    return Figure(name, float(np.median([value(cost) for cost in costs])), unit, "median")


def _dearest(
    network: MultiTaskNetwork, predictor: Predictor, scale: Scale
) -> tuple[Figure, Figure]:
    """Measure a volume in which all candidates are within reach, bone too."""
    scale.narrator.progress("predicting with everything within reach")
    phantom = _patient(scale, 0)
    hu = phantom.volume.hu[::_EVERY]
    cost = _cost(network, predictor, hu, phantom, scale.samples)
    masks = seeded_masks(network.config.dropout_sites(), 1, _SEED)
    naive = _seconds(lambda: _bare_passes(network, hu, phantom, masks)).processor
    return (
        Figure(
            f"{scale.samples} samples / prediction without, all candidates within reach",
            cost.sampled.processor / cost.plain.processor,
            "x",
            "one patient, processor time",
        ),
        Figure(
            f"{2 * scale.samples} bare passes with dropout / bare forward pass",
            2 * scale.samples * naive / cost.bare.processor,
            "x",
            "what plain MC dropout costs for the same",
        ),
    )


def _patients(scale: Scale) -> Iterator[Phantom]:
    for index in range(scale.patients):
        yield _patient(scale, index)


def _patient(scale: Scale, index: int) -> Phantom:
    """Make a patient at half the resolution along every axis, and double every voxel."""
    half = phantom_patient(1, index, (scale.side // 2, scale.side // 2, scale.slices // 2))
    return _doubled(half)


def _doubled(phantom: Phantom) -> Phantom:
    volume = phantom.volume
    hu = volume.hu.repeat(2, axis=0).repeat(2, axis=1).repeat(2, axis=2)
    labels = phantom.labels.repeat(2, axis=0).repeat(2, axis=1).repeat(2, axis=2)
    half = np.diag([0.5, 0.5, 0.5, 1.0])
    grid = replace(volume.grid, shape=hu.shape, affine=volume.grid.affine @ half)
    return replace(phantom, volume=replace(volume, hu=hu, grid=grid), labels=labels)


def _cost(
    network: MultiTaskNetwork,
    predictor: Predictor,
    hu: NDArray[np.int16],
    phantom: Phantom,
    samples: int,
) -> _Cost:
    def predict(samples: int) -> None:
        predictor.predict(
            hu,
            spacing_mm=phantom.volume.spacing_mm,
            threshold_hu=threshold_hu(phantom.volume.kvp),
            samples=samples,
            seed=_SEED,
        )

    return _Cost(
        _seconds(lambda: _bare_passes(network, hu, phantom, None)),
        _seconds(lambda: predict(0)),
        _seconds(lambda: predict(samples)),
    )


def _network() -> MultiTaskNetwork:
    torch.manual_seed(_SEED)
    network = MultiTaskNetwork(paper_network())
    # An artery region everywhere.
    never_say(network, "region", 0)
    return network.eval()


def _predictor(network: MultiTaskNetwork, folder: Path) -> Predictor:
    folder.mkdir(parents=True)
    path = folder / "random.safetensors"
    save(path, Checkpoint(network.config, network.state_dict()))
    return Predictor(path, "cpu")


@torch.inference_mode()
def _bare_passes(
    network: MultiTaskNetwork, hu: NDArray[np.int16], phantom: Phantom, masks: Masks | None
) -> None:
    """Run the network over every slice, one at a time, and do nothing with the result."""
    config = network.config
    hu = hu[find_content(hu).index]
    height, width = padded_size((hu.shape[1], hu.shape[2]), config.multiple)
    padding = [(0, 0), (0, height - hu.shape[1]), (0, width - hu.shape[2])]
    hu = np.pad(hu, padding, constant_values=AIR_HU)
    fast = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # memory_format is missing in the stub
    for index in range(hu.shape[0]):
        slab = take_slab(hu, index, config.neighbours)
        candidates = hu[index : index + 1] >= threshold_hu(phantom.volume.kvp)
        fast(network_input(slab[None], candidates, config), masks)


def _seconds(run: Callable[[], object]) -> _Seconds:
    wall, processor = time.perf_counter(), time.process_time()
    run()
    return _Seconds(time.perf_counter() - wall, time.process_time() - processor)
