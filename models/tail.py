"""The stochastic end of a pass, decoded only where it is looked at.

Everything before the first dropout is computed once per slice. Between the first dropout
and ``_BOX_LEVEL`` all samples are decoded over the whole slice, which is cheap because the
resolution is low; below it only the box around the wanted pixels, widened by the distance
over which a crop's edge can be felt. The values are those of a full pass but for rounding.
"""

from collections.abc import Iterator, Mapping

from torch import Tensor

from .dropout import Masks
from .network import BOTTLENECK, DecoderState, MultiTaskNetwork, NetworkConfig

_BOX_LEVEL = 2
"""Level below which only the box is decoded."""

_SAMPLES_AT_ONCE = 8
"""Samples decoded as one batch; more would fall out of the processor's cache."""

Box = tuple[tuple[int, int], tuple[int, int]]
"""Half-open ranges of rows and columns at full resolution."""


def prefix_level(config: NetworkConfig) -> int:
    """Return the level down to which a pass is the same for all samples."""
    levels = [
        site.level if site.name == BOTTLENECK else site.level + 1
        for site in config.dropout_sites()
        if site.probability > 0.0
    ]
    return max(levels, default=0)


def sample_at_points(
    network: MultiTaskNetwork, prefix: DecoderState, masks: Masks, samples: int, points: Tensor
) -> Iterator[dict[str, Tensor]]:
    """Decode samples of one slice and read them at some pixels.

    Args:
        network: Network in evaluation mode.
        prefix: State of one slice, decoded to ``prefix_level``.
        masks: Dropout masks of the samples.
        samples: Number T of samples.
        points: Rows and columns of the wanted pixels, shape (2, P), at least one.

    Yields:
        For a few samples at a time the logits by task, shape (t, classes, P).
    """
    for start in range(0, samples, _SAMPLES_AT_ONCE):
        stop = min(start + _SAMPLES_AT_ONCE, samples)
        part = {name: mask[start:stop] for name, mask in masks.items()}
        logits, box = decode_in_box(network, prefix, part, points)
        rows, columns = points[0] - box[0][0], points[1] - box[1][0]
        yield {
            name: values[:, :, rows, columns].expand(stop - start, -1, -1)
            for name, values in logits.items()
        }


def decode_in_box(
    network: MultiTaskNetwork, prefix: DecoderState, masks: Masks, points: Tensor
) -> tuple[Mapping[str, Tensor], Box]:
    """Decode a state under masks, exactly at the given pixels.

    Returns:
        Logits by task inside a box that holds the pixels, and the box. Values of the box's
        other pixels near its edge are not those of a full pass.
    """
    state = network.decode(prefix, until=min(_BOX_LEVEL, prefix.level), masks=masks)
    height, width = prefix.inputs.shape[2:]
    grid = max(state.level, *(task.stop_level for task in network.config.tasks))
    margin = edge_reach(network.config, state.level)
    box = (
        _aligned(points[0], margin, height, 1 << grid),
        _aligned(points[1], margin, width, 1 << grid),
    )
    return network.logits(network.decode(state.crop(*box, grid), masks=masks)), box


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


def _aligned(points: Tensor, margin: int, side: int, step: int) -> tuple[int, int]:
    first = max(int(points.min()) - margin, 0) // step * step
    last = -(-min(int(points.max()) + 1 + margin, side) // step) * step
    return first, last
