"""Decoders: from the bottleneck back up to the pixels, one per task."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from .encoders import activation, conv_block


def upsample(features: Tensor, factor: int = 2) -> Tensor:
    """Upsample bilinearly, each result depending on its nearest inputs only.

    Corners are not aligned: an upsampled pixel then depends on the same neighbours
    wherever it lies, so cropping before upsampling is exact inside a small margin.
    """
    return functional.interpolate(
        features, scale_factor=factor, mode="bilinear", align_corners=False
    )


@dataclass(frozen=True)
class StageShape:
    """Channels of a decoder stage.

    Attributes:
        coarse: Channels that come from coarser levels.
        fine: Channels that have the stage's resolution.
        out: Channels of the result.
        convs: Number of 3x3 convolutions when the inputs are joined.
        is_adding: Whether the inputs are added instead of joined.
    """

    coarse: int
    fine: int
    out: int
    convs: int
    is_adding: bool


class JoinStage(nn.Module):
    """Upsample the coarse parts, concatenate all of them and convolve."""

    def __init__(self, shape: StageShape) -> None:
        """Build the convolutions."""
        super().__init__()
        inputs = (shape.coarse + shape.fine, *(shape.out,) * (shape.convs - 1))
        self.blocks = nn.Sequential(*(conv_block(width, shape.out) for width in inputs))

    def forward(self, parts: list[Tensor]) -> Tensor:
        """Map parts, each (N or 1, C, Y', X') of any coarser resolution, to (N, C', Y, X)."""
        side = max(part.shape[-1] for part in parts)
        result: Tensor = self.blocks(_join([_enlarge(part, side) for part in parts]))
        return result


class AddStage(nn.Module):
    """Reduce the coarse parts to few channels before they are upsampled, then add.

    At full resolution the time goes into moving wide concatenated features through memory,
    not into arithmetic: this stage takes a third of the time of a ``JoinStage`` there.
    """

    def __init__(self, shape: StageShape) -> None:
        """Build one convolution for each resolution."""
        super().__init__()
        self.coarse = nn.Conv2d(shape.coarse, shape.out, 1, bias=False)
        self.fine = nn.Conv2d(shape.fine, shape.out, 3, padding=1, bias=False)
        self.finish = nn.Sequential(nn.BatchNorm2d(shape.out), activation())

    def forward(self, parts: list[Tensor]) -> Tensor:
        """Map parts, each (N or 1, C, Y', X') of any coarser resolution, to (N, C', Y, X)."""
        side = max(part.shape[-1] for part in parts)
        coarse = [_enlarge(part, side // 2) for part in parts if part.shape[-1] < side]
        fine = [part for part in parts if part.shape[-1] == side]
        result: Tensor = self.finish(upsample(self.coarse(_join(coarse))) + self.fine(_join(fine)))
        return result


class SegmentationHead(nn.Module):
    """Decode one segmentation task level by level.

    The stages are run from outside (see ``network``), so that a pass can stop between
    levels and be taken up again from there.
    """

    def __init__(self, shapes: dict[int, StageShape], head_width: int, classes: int) -> None:
        """Build one stage per level and the output convolutions.

        Args:
            shapes: Shape of the stage of each level, coarsest first, at least one.
            head_width: Channels between the two output convolutions.
            classes: Channels of the output.
        """
        super().__init__()
        self.stages = nn.ModuleDict(
            {
                str(level): AddStage(shape) if shape.is_adding else JoinStage(shape)
                for level, shape in shapes.items()
            }
        )
        *coarse, last_level = shapes
        last = shapes[last_level].out
        self.coarse_outputs = nn.ModuleDict(
            {str(level): nn.Conv2d(shapes[level].out, classes, 1) for level in coarse}
        )
        self.output = nn.Sequential(conv_block(last, head_width), nn.Conv2d(head_width, classes, 1))

    def run_stage(self, level: int, parts: list[Tensor]) -> Tensor:
        """Run the stage of ``level`` on its parts, coarse and fine."""
        result: Tensor = self.stages[str(level)](parts)
        return result

    def logits(self, features: Tensor) -> Tensor:
        """Turn the features of the last stage into logits, shape (N, classes, Y, X)."""
        result: Tensor = self.output(features)
        return result

    def coarse_logits(self, level: int, features: Tensor) -> Tensor:
        """Turn the features of a stage before the last into logits of its resolution."""
        result: Tensor = self.coarse_outputs[str(level)](features)
        return result


def _enlarge(part: Tensor, side: int) -> Tensor:
    # A number of its own, also where the shapes are traced; it is the same for every size.
    factor = int(side // part.shape[-1])
    return part if factor == 1 else upsample(part, factor)


def _join(parts: list[Tensor]) -> Tensor:
    """Concatenate along the channels, repeating items of a batch of one."""
    count = max(part.shape[0] for part in parts)
    return torch.cat([part.expand(count, -1, -1, -1) for part in parts], dim=1)
