"""Decoders: from the bottleneck back up to the pixels, one per task."""

from torch import Tensor, nn
from torch.nn import functional

from .encoders import conv_block


def upsample(features: Tensor, factor: int = 2) -> Tensor:
    """Upsample bilinearly, each result depending on its nearest inputs only.

    Corners are not aligned: an upsampled pixel then depends on the same neighbours
    wherever it lies, so cropping before upsampling is exact inside a small margin.
    """
    return functional.interpolate(
        features, scale_factor=factor, mode="bilinear", align_corners=False
    )


class SegmentationHead(nn.Module):
    """Decode one segmentation task level by level.

    The stages are run from outside (see ``network``), so that a pass can stop between
    levels and be taken up again from there.
    """

    def __init__(
        self,
        stage_channels: dict[int, tuple[int, int]],
        *,
        stage_convs: int,
        head_width: int,
        classes: int,
    ) -> None:
        """Build one stage per level and the output convolutions.

        Args:
            stage_channels: Channels in and out of the stage of each level, coarsest first.
            stage_convs: Number of 3x3 convolutions of a stage.
            head_width: Channels between the two output convolutions.
            classes: Channels of the output.
        """
        super().__init__()
        self.stages = nn.ModuleDict(
            {
                str(level): _stage(*channels, convs=stage_convs)
                for level, channels in stage_channels.items()
            }
        )
        last = list(stage_channels.values())[-1][1]
        self.output = nn.Sequential(conv_block(last, head_width), nn.Conv2d(head_width, classes, 1))

    def run_stage(self, level: int, joined: Tensor) -> Tensor:
        """Run the stage of ``level`` on its joined inputs, shape (N, C, Y, X)."""
        result: Tensor = self.stages[str(level)](joined)
        return result

    def logits(self, features: Tensor) -> Tensor:
        """Turn the features of the last stage into logits, shape (N, classes, Y, X)."""
        result: Tensor = self.output(features)
        return result


def _stage(channels_in: int, channels_out: int, *, convs: int) -> nn.Sequential:
    inputs = (channels_in, *(channels_out,) * (convs - 1))
    return nn.Sequential(*(conv_block(width, channels_out) for width in inputs))
