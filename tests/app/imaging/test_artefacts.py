"""Noise and metal against what a phantom was made with, and against a scanner's."""

from dataclasses import replace

import numpy as np
import pytest

from app.calcium.phantom import PhantomConfig, make_phantom
from app.imaging.artefacts import MAX_METAL_MM3, is_spoilt, measure_artefacts
from app.imaging.reader import read_volume
from app.imaging.volume import Volume
from tests.factories import make_grid
from tests.real_data import real_data


def phantom_volume(
    seed: int, shape: tuple[int, int, int] = (6, 160, 160), **config: object
) -> Volume:
    return make_phantom(PhantomConfig(shape, **config), seed).volume  # type: ignore[arg-type]


@pytest.mark.parametrize("sd_hu", [12.0, 21.0, 32.0])
def test_measures_the_noise_a_phantom_was_made_with(sd_hu: float) -> None:
    measured, _ = measure_artefacts(phantom_volume(3, noise_sd_hu=sd_hu, metal=False))
    # A share of it lies in waves longer than a window.
    assert measured == pytest.approx(sd_hu, rel=0.15)


def test_noise_is_the_same_however_the_file_orders_the_axes() -> None:
    volume = phantom_volume(3, noise_sd_hu=20.0)
    shape = volume.grid.shape
    # Stored as (X, Y, Z) instead of (Z, Y, X).
    affine = volume.grid.affine[:, [2, 1, 0, 3]]
    turned = Volume(
        np.ascontiguousarray(volume.hu.T),
        replace(volume.grid, shape=(shape[2], shape[1], shape[0]), affine=affine),
    )
    assert measure_artefacts(turned) == measure_artefacts(volume)


def test_wires_and_leads_are_metal_and_calcium_and_bone_are_not() -> None:
    _, without = measure_artefacts(phantom_volume(5, (16, 96, 96), metal=False, score_class=">400"))
    assert without == 0.0
    for part in ("sternal wires", "pacemaker lead"):
        _, metal_mm3 = measure_artefacts(phantom_volume(5, (16, 96, 96), metal_part=part))
        assert metal_mm3 > MAX_METAL_MM3, part


def test_counts_the_voxels_of_metal_in_mm3() -> None:
    hu = np.zeros((2, 8, 8), np.int16)
    hu[0, 0, :3], hu[1, 1, 1] = 2000, 1999
    volume = Volume(hu, make_grid((2, 8, 8), spacing_mm=(2.0, 0.5, 0.5)))
    noise_sd_hu, metal_mm3 = measure_artefacts(volume)
    assert noise_sd_hu is None
    assert metal_mm3 == pytest.approx(1.5)


def test_air_has_no_noise_to_tell() -> None:
    volume = Volume(np.full((4, 64, 64), -1000, np.int16), make_grid((4, 64, 64)))
    assert measure_artefacts(volume) == (None, 0.0)


def test_a_scanner_phantom_is_as_noisy_as_published() -> None:
    measured, metal_mm3 = measure_artefacts(read_volume(real_data("qrm-phantom")))
    # 19 to 23 HU with this scanner and kernel.
    assert measured is not None
    assert 19.0 <= measured <= 23.0
    assert metal_mm3 == 0.0


@pytest.mark.parametrize(
    ("noise_sd_hu", "metal_mm3", "expected"),
    [(None, None, False), (25.0, 20.0, False), (25.5, 0.0, True), (None, 20.5, True)],
)
def test_either_spoils_an_image_and_unknown_does_not(
    noise_sd_hu: float | None, metal_mm3: float | None, expected: bool
) -> None:
    assert is_spoilt(noise_sd_hu, metal_mm3) is expected
