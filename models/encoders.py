"""Shared encoder: a stem at full resolution and stages that halve it."""

from torch import Tensor, nn

LEAK = 0.2
"""Negative slope of every LeakyReLU, as in the published calcium network."""


def activation() -> nn.Module:
    """Make the activation used everywhere."""
    return nn.LeakyReLU(LEAK, inplace=True)


def conv_block(channels_in: int, channels_out: int, kernel: int = 3) -> nn.Sequential:
    """Make a convolution that keeps the size, with normalisation and activation."""
    conv = nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels_out), activation())


class EncoderStage(nn.Module):
    """Halve the resolution and look around: 4x4 stride 2, then 3x3."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        """Build the stage."""
        super().__init__()
        self.down = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 4, stride=2, padding=1), activation()
        )
        self.block = conv_block(channels_out, channels_out)

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, C, Y, X) to (N, C', Y / 2, X / 2)."""
        result: Tensor = self.block(self.down(features))
        return result


class Encoder(nn.Module):
    """Encode a slice at every resolution.

    Level 0 is the stem at full resolution, level i the output of stage i at 1 / 2**i.
    """

    def __init__(
        self,
        channels_in: int,
        *,
        stem_width: int,
        stem_kernel: int,
        stem_convs: int,
        widths: tuple[int, ...],
    ) -> None:
        """Build the stem and one stage per width."""
        super().__init__()
        inputs = (channels_in, *(stem_width,) * (stem_convs - 1))
        self.stem = nn.Sequential(*(conv_block(width, stem_width, stem_kernel) for width in inputs))
        before = (stem_width, *widths[:-1])
        self.stages = nn.ModuleList(map(EncoderStage, before, widths))

    def forward(self, inputs: Tensor) -> list[Tensor]:
        """Return the features of every level, finest first."""
        features = [self.stem(inputs)]
        for stage in self.stages:
            features.append(stage(features[-1]))
        return features
