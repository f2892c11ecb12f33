"""How much is measured."""

from dataclasses import dataclass
from pathlib import Path

from server.demo.narration import Narrator


@dataclass(frozen=True)
class Scale:
    """Sizes of the measurements.

    Attributes:
        folder: Empty folder for everything that is made.
        narrator: Says what happens.
        calls: Calls per endpoint.
        pool: Images in the large pool.
        side: Pixels along a side of the large volumes.
        small: Voxels along (X, Y, Z) of the small volumes.
        images: Small volumes in the pool of a running server.
        samples: Stochastic samples of a prediction whose cost is measured.
        slices: Slices of the volumes it is measured on.
        patients: Number of those volumes.
        is_quick: Whether small volumes and few calls are to do; the figures then show only
            that the measurements work.
    """

    folder: Path
    narrator: Narrator
    calls: int = 60
    pool: int = 100_000
    side: int = 512
    small: tuple[int, int, int] = (128, 128, 24)
    images: int = 24
    samples: int = 20
    slices: int = 40
    patients: int = 20
    is_quick: bool = False


def quick_scale(folder: Path, narrator: Narrator) -> Scale:
    """Return a scale that is done within a minute or two."""
    return Scale(
        folder,
        narrator,
        calls=8,
        pool=2_000,
        side=128,
        small=(64, 64, 12),
        images=5,
        samples=3,
        slices=20,
        patients=2,
        is_quick=True,
    )
