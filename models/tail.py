"""The stochastic end of a pass, decoded only around the pixels it is looked at.

Only the dropout of the last stages is active in samples (``NetworkConfig.sampled_sites``).
Everything before them is computed once per slice, by the deterministic pass. The stages
themselves are decoded in patches around the wanted pixels, widened by the distance over
which a crop's edge can be felt. The values are those of a full pass but for rounding.
"""

import torch
from torch import Tensor

from .dropout import Masks
from .network import DecoderState, MultiTaskNetwork, NetworkConfig

_PIXELS_AT_ONCE = 1 << 14
"""Pixels of all samples in one batch; more would fall out of the processor's cache."""

Box = tuple[tuple[int, int], tuple[int, int]]
"""Half-open ranges of rows and columns at full resolution."""


def prefix_level(config: NetworkConfig) -> int:
    """Return the level down to which a pass is the same for all samples."""
    return max((site.level + 1 for site in config.sampled_sites()), default=0)


def sample_at_points(
    network: MultiTaskNetwork, prefix: DecoderState, masks: Masks, points: Tensor
) -> dict[str, Tensor]:
    """Decode samples of one slice in a box around some pixels and read them there.

    Args:
        network: Network in evaluation mode.
        prefix: State of one slice, decoded to ``prefix_level``.
        masks: Dropout masks of T samples, of sites below the prefix alone.
        points: Rows and columns of the wanted pixels, shape (2, P), at least one.

    Returns:
        Logits by task, shape (T, classes, P); T is 1 without masks.
    """
    box, grid = patch_box(network.config, prefix, points)
    patch = prefix.crop(*box, grid)
    rows, columns = points[0] - box[0][0], points[1] - box[1][0]
    count = next((mask.shape[0] for mask in masks.values()), 1)
    step = max(1, _PIXELS_AT_ONCE // (patch.inputs.shape[2] * patch.inputs.shape[3]))
    found: dict[str, list[Tensor]] = {task.name: [] for task in network.config.tasks}
    for start in range(0, count, step):
        part = {name: mask[start : start + step] for name, mask in masks.items()}
        logits = network.logits(network.decode(patch, masks=part))
        for name, values in logits.items():
            # A head without masks of its own says the same in every sample.
            read = values[:, :, rows, columns].expand(min(step, count - start), -1, -1)
            found[name].append(read)
    return {name: torch.cat(parts) for name, parts in found.items()}


def patch_box(config: NetworkConfig, prefix: DecoderState, points: Tensor) -> tuple[Box, int]:
    """Return the box to decode for some points, and the level whose pixels it lies on."""
    grid = max(prefix.level, *(task.stop_level for task in config.tasks))
    margin = edge_reach(config, prefix.level)
    height, width = prefix.inputs.shape[2:]
    rows = _aligned(points[0], margin, height, 1 << grid)
    return (rows, _aligned(points[1], margin, width, 1 << grid)), grid


def edge_reach(config: NetworkConfig, level: int) -> int:
    """Return how far a crop made at ``level`` is felt, in pixels of full resolution."""
    reach = {task.name: 0 for task in config.tasks}
    for current in reversed(range(level)):
        for task in config.tasks:
            # Upsampling doubles the distance and looks one pixel further.
            below = 2 * reach[task.name] + 1
            if current < task.stop_level:
                reach[task.name] = below
                continue
            fed = [reach[name] for name in task.fed_by]
            reach[task.name] = max(below, *fed, 0) + config.stage_convs
    # The 3x3 convolution before the output may lie at a coarser level.
    return max(reach[task.name] + (1 << task.stop_level) + task.stop_level for task in config.tasks)


def _aligned(places: Tensor, margin: int, side: int, step: int) -> tuple[int, int]:
    first = max(int(places.min()) - margin, 0) // step * step
    last = -(-min(int(places.max()) + 1 + margin, side) // step) * step
    return first, last
