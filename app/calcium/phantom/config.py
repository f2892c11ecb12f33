"""What can be asked of a phantom, and what it reports about itself."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.imaging.volume import Volume

DEFAULT_SHAPE = (24, 128, 128)
"""Voxels along (Z, Y, X) of the fast phantom: the field of view of a 512² image."""

SCORE_CLASSES = ("0", "1-10", "11-100", "101-400", ">400")
"""Agatston classes a patient is drawn from."""


@dataclass(frozen=True)
class PhantomConfig:
    """Everything that can be fixed about a phantom; None is drawn from the seed.

    Attributes:
        shape: Voxels along (Z, Y, X).
        fov_mm: Side of the square field of view.
        increment_mm: Distance between slice centres.
        kvp: Tube voltage in kV, 100 or 120.
        noise_sd_hu: Standard deviation of the noise in the blood pool, in HU.
        score_class: One of `SCORE_CLASSES`.
        motion_mm: Path of the right coronary artery during the acquisition; the left ones
            move less.
        metal: Whether sternal wires, a pacemaker lead or a stent may be drawn.
        metal_part: Name of a kind of metal that is there for sure; None leaves it to chance.
        shift_z_mm: Moves the slices against the patient, to measure partial volume effects.
    """

    shape: tuple[int, int, int] = DEFAULT_SHAPE
    fov_mm: float | None = None
    increment_mm: float | None = None
    kvp: float | None = None
    noise_sd_hu: float | None = None
    score_class: str | None = None
    motion_mm: float | None = None
    metal: bool = True
    metal_part: str | None = None
    shift_z_mm: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what no phantom can be made of."""
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise ValueError(f"a phantom needs three positive sizes (Z, Y, X), got {self.shape}")
        if self.score_class is not None and self.score_class not in SCORE_CLASSES:
            known = ", ".join(SCORE_CLASSES)
            raise ValueError(f"no score class {self.score_class!r}; known: {known}")
        if self.metal_part is not None and not self.metal:
            raise ValueError(f"{self.metal_part} in a patient who may have no metal")


@dataclass(frozen=True)
class Facts:
    """How a phantom was acquired.

    Attributes:
        kvp: Tube voltage in kV.
        noise_sd_hu: Standard deviation of the noise in the blood pool, in HU.
        motion_mm: Path of the right coronary artery during the acquisition; 0 at rest.
        metal: Names of the metal parts in the patient.
        increment_mm: Distance between slice centres.
        thickness_mm: Width of a slice.
        pixel_mm: Side of a pixel.
        score_class: Agatston class the calcium was drawn from.
        left_dominant: Whether the circumflex artery supplies the posterior descending branch.
    """

    kvp: float
    noise_sd_hu: float
    motion_mm: float
    metal: tuple[str, ...]
    increment_mm: float
    thickness_mm: float
    pixel_mm: float
    score_class: str
    left_dominant: bool


@dataclass(frozen=True)
class ArteryTruth:
    """Calcium of one artery as it was put in.

    Attributes:
        mass_mg: Analytic mass of hydroxyapatite.
        volume_mm3: Analytic volume of the plaques.
        plaques: Number of plaques; some may overlap.
        agatston: Agatston score of the same slices without noise.
    """

    mass_mg: float
    volume_mm3: float
    plaques: int
    agatston: float


@dataclass(frozen=True)
class Phantom:
    """A synthetic cardiac CT with the label an expert would submit.

    Attributes:
        volume: Axial volume: index x grows to the patient's left, y to the back, z to the head.
        labels: Canonical label values, shape (Z, Y, X), uint8.
        truth: Calcium as put in, by artery.
        facts: How the phantom was acquired.
    """

    volume: Volume
    labels: NDArray[np.uint8]
    truth: Mapping[str, ArteryTruth]
    facts: Facts
