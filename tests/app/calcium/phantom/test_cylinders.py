"""The standard inserts of the QRM phantom through the acquisition of the generator."""

import numpy as np
import pytest

from app.calcium.phantom.acquisition import (
    HU_PER_MG_CM3,
    Scanner,
    blur,
    quantise,
)
from app.calcium.phantom.geometry import Cylinder
from app.calcium.phantom.labelling import label_calcium
from app.calcium.phantom.noise import draw_noise
from app.calcium.phantom.plaques import Deposit
from app.calcium.phantom.rasterise import Frame, rasterise_deposits
from app.calcium.score import calcium_scores

PIXEL_MM, SLICE_MM = 0.488, 3.0

BACKGROUND_HU = 75.0
"""Attenuation of the plastic around the inserts in the real scan."""

SCANNER = Scanner(kvp=120.0, noise_sd_hu=21.0, kernel_fwhm_mm=1.65, cupping_hu=0.0, padding_hu=None)
"""Noise and edge width of the real scan (Canon, kernel FC12)."""

# Diameter and length in mm, mg/cm³, score of the real scan, and the height of the insert over
# the slice: half the difference of the shares of its mass in the two neighbouring slices,
# times 3 mm (5 mm inserts), or the whole share (3 mm inserts).
INSERTS = [
    (5.0, 800.0, 401.99, -0.17),
    (5.0, 400.0, 238.38, -0.67),
    (5.0, 200.0, 138.12, -0.75),
    (3.0, 800.0, 86.21, 0.15),
    (3.0, 400.0, 69.54, -0.48),
    (3.0, 200.0, 22.86, -1.20),
]


def scan_score(size_mm: float, density: float, height_mm: float, seed: int) -> float:
    """Return the Agatston score of one insert in one scan."""
    rng = np.random.default_rng(seed)
    centres = np.linspace(-23.5, 23.5, 48) * PIXEL_MM
    frame = Frame(centres, centres, np.linspace(-6.0, 6.0, 5), SLICE_MM, SLICE_MM)
    centre = np.array([*rng.uniform(-0.25, 0.25, 2), height_mm])
    insert = Deposit(Cylinder(centre, size_mm / 2.0, size_mm), density, "LAD")
    drawn = rasterise_deposits([insert], frame, [np.zeros(3)])
    added = drawn.density_mg_cm3 * np.float32(HU_PER_MG_CM3)
    image = blur(np.float32(BACKGROUND_HU) + added, SCANNER, PIXEL_MM)
    noise = draw_noise(frame.shape, PIXEL_MM, rng) * SCANNER.noise_sd_hu
    hu = quantise(image + noise, SCANNER, frame)
    calcium = {"LAD": blur(added, SCANNER, PIXEL_MM)}
    labels = label_calcium(hu, calcium, {"LAD": drawn.covered > 0}, 130)
    scores = calcium_scores(hu, labels, spacing_mm=(SLICE_MM, PIXEL_MM, PIXEL_MM), kvp=120.0)
    return float(scores.total.agatston)


@pytest.mark.parametrize(("size_mm", "density", "expected", "height_mm"), INSERTS)
def test_standard_cylinders_score_as_in_the_real_scan(
    size_mm: float, density: float, expected: float, height_mm: float
) -> None:
    scores = [scan_score(size_mm, density, height_mm, seed) for seed in range(24)]
    assert np.mean(scores) == pytest.approx(expected, rel=0.15)


def test_scores_depend_on_where_the_slices_fall() -> None:
    heights = (0.0, 0.75, 1.5)
    small = [np.mean([scan_score(3.0, 200.0, z, seed) for seed in range(12)]) for z in heights]
    # A 3 mm insert of 200 mg/cm³ rises 278 HU over 75 in one slice: weight 3; split over two
    # slices it rises 139 HU in each: weight 2 at most, over less area.
    assert max(small) / min(small) > 1.2
