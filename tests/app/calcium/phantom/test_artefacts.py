import numpy as np
import pytest

from app.calcium.candidates import threshold_hu
from app.calcium.phantom.acquisition import (
    TISSUE_HU,
    Scanner,
    add_cupping,
    blur,
    draw_scanner,
    noise_level,
    quantise,
)
from app.calcium.phantom.geometry import bend_tube
from app.calcium.phantom.metal import MetalPart, add_streaks
from app.calcium.phantom.motion import RELATIVE_PATH, Motion, add_crescents, draw_motion
from app.calcium.phantom.rasterise import Frame

CENTRES = np.linspace(-50.0, 50.0, 101)
FRAME = Frame(CENTRES, CENTRES, np.linspace(-6.0, 6.0, 5), 3.0, 3.0)
UPRIGHT = bend_tube(np.array([[0.0, 0.0, -2.0], [0.0, 0.0, 2.0]]), (1.5, 1.5))


def scanner(kvp: float = 120.0, padding_hu: int | None = None) -> Scanner:
    return Scanner(kvp, 20.0, 1.2, 10.0, padding_hu)


def blank() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.zeros(FRAME.shape, dtype=np.float32)


def test_the_kernel_keeps_mass_and_lowers_peaks() -> None:
    image = blank()
    image[2, 50, 50] = 1000.0
    blurred = blur(image, scanner(), 0.5)
    assert blurred.sum() == pytest.approx(1000.0, rel=1e-3)
    assert 100.0 < blurred.max() < 500.0
    # In plane only: slices are averaged where tissues are painted.
    assert not blurred[[0, 1, 3, 4]].any()


def test_the_kernel_overshoots_at_edges() -> None:
    image = blank()
    image[:, :, 50:] = 1000.0
    blurred = blur(image, scanner(), 0.5)
    assert blurred.min() < -5.0
    assert blurred.max() > 1005.0


@pytest.mark.parametrize("kvp", [100.0, 120.0])
def test_the_same_density_reaches_the_threshold_at_every_voltage(kvp: float) -> None:
    # (130 - 42) / 1.39 = 63.3 mg/cm³ at 120 kV.
    assert TISSUE_HU + 63.31 * scanner(kvp).calcium_hu_per_mg_cm3 == pytest.approx(
        threshold_hu(kvp), abs=0.1
    )


def test_images_are_rounded_and_clipped_to_twelve_bits() -> None:
    image = np.zeros(FRAME.shape)
    image[0, 0, :4] = 0.6, -5000.0, 9000.0, -0.4
    hu = quantise(image, scanner(), FRAME)
    assert hu.dtype == np.int16
    assert hu[0, 0, :4].tolist() == [1, -1024, 3071, 0]


def test_padding_fills_the_corners_only() -> None:
    hu = quantise(np.zeros(FRAME.shape), scanner(padding_hu=-2048), FRAME)
    assert (hu[:, 0, 0] == -2048).all()
    assert (hu[:, 50, :] == 0).all()


def test_noise_is_highest_in_the_middle() -> None:
    level = noise_level(FRAME)
    assert level[50, 50] == pytest.approx(1.0)
    assert level[0, 0] < level[50, 0] < 1.0


def test_cupping_lowers_the_middle_of_tissue_and_spares_the_lung() -> None:
    image = blank()
    image[0] = -850.0
    add_cupping(image, scanner(), FRAME)
    assert image[1, 50, 50] == pytest.approx(-10.0)
    assert image[1, 0, 0] > -10.0
    assert (image[0] == -850.0).all()


def test_scanners_are_drawn_within_the_measured_range() -> None:
    drawn = [draw_scanner(None, None, np.random.default_rng(seed)) for seed in range(200)]
    noise = np.array([one.noise_sd_hu for one in drawn])
    assert noise.min() >= 10.0
    assert noise.max() <= 30.0
    # Blood pools of six scans: 12.6 to 21.7 HU.
    assert 12.6 < np.median(noise) < 21.7
    assert {one.kvp for one in drawn} == {100.0, 120.0}
    given = draw_scanner(100.0, 17.0, np.random.default_rng(1))
    assert (given.kvp, given.noise_sd_hu) == (100.0, 17.0)


def test_the_right_artery_moves_most() -> None:
    motion = draw_motion(4.0, np.random.default_rng(3))
    paths = {artery: np.linalg.norm(path) for artery, path in motion.paths.items()}
    assert paths == pytest.approx({name: 4.0 * share for name, share in RELATIVE_PATH.items()})
    assert max(paths, key=lambda name: paths[name]) == "RCA"


def test_an_artery_takes_places_evenly_along_its_path() -> None:
    motion = Motion(3.0, {"RCA": np.array([3.0, 0.0, 0.0])})
    offsets = np.array(motion.offsets("RCA"))
    assert len(offsets) == 5
    assert offsets[:, 0].tolist() == [-1.5, -0.75, 0.0, 0.75, 1.5]
    assert np.array_equal(motion.offsets(""), [np.zeros(3)])


def test_a_resting_artery_has_one_place() -> None:
    assert len(draw_motion(0.0, np.random.default_rng(3)).offsets("RCA")) == 1


def test_moving_arteries_leave_a_bright_and_a_dark_crescent() -> None:
    image = blank()
    motion = Motion(4.0, {"RCA": np.array([4.0, 0.0, 0.0])})
    add_crescents(image, {"RCA": UPRIGHT}, motion, FRAME, np.random.default_rng(1))
    assert 25.0 < image.max() < 81.0
    assert -81.0 < image.min() < -25.0
    # The path runs along x, so that the crescents face each other along y.
    bright, dark = (
        np.unravel_index(image.argmax(), image.shape),
        np.unravel_index(image.argmin(), image.shape),
    )
    assert abs(int(bright[1]) - int(dark[1])) >= 4
    assert bright[2] == dark[2] == 50


def test_resting_arteries_leave_no_crescent() -> None:
    image = blank()
    motion = draw_motion(0.2, np.random.default_rng(1))
    add_crescents(
        image, dict.fromkeys(RELATIVE_PATH, UPRIGHT), motion, FRAME, np.random.default_rng(1)
    )
    assert not image.any()


def test_metal_draws_rays_through_its_slices_only() -> None:
    image = blank()
    part = MetalPart("pacemaker lead", UPRIGHT, 7000.0, 200.0)
    add_streaks(image, (part,), FRAME, np.random.default_rng(2))
    touched = np.abs(image).max(axis=(1, 2)) > 0
    # Points from -2 to 2 mm lie in the slices at -3, 0 and 3 mm, which reach 1.5 mm.
    assert touched.tolist() == [False, True, True, True, False]
    assert image.min() < -40.0
    assert image.max() > 40.0
    near, far = (
        np.abs(image[2][slice_]).max() for slice_ in ((50, slice(55, 60)), (50, slice(95, 100)))
    )
    assert near >= far
