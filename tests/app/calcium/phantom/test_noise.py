import numpy as np
import pytest
from numpy.typing import NDArray

from app.calcium.phantom.noise import SLICE_CORRELATION, autocorrelation, draw_noise

PIXEL_MM = 0.4


@pytest.fixture(scope="module")
def noise() -> NDArray[np.float64]:
    return draw_noise((12, 256, 256), PIXEL_MM, np.random.default_rng(5))


def correlation(noise: NDArray[np.float64], lag: int, axis: int) -> float:
    first = np.take(noise, range(noise.shape[axis] - lag), axis)
    second = np.take(noise, range(lag, noise.shape[axis]), axis)
    return float((first * second).mean() / (noise**2).mean())


def test_standard_deviation_is_one(noise: NDArray[np.float64]) -> None:
    assert noise.std() == pytest.approx(1.0, abs=0.01)
    assert noise.mean() == pytest.approx(0.0, abs=0.01)


# Measured in the blood pool of calcium scans: .80-.85 at 0.38-0.47 mm, .50 at 0.8 mm,
# about 0 at 1.4-1.6 mm, -.05 to -.08 beyond.
@pytest.mark.parametrize(
    ("lag", "low", "high"), [(1, 0.80, 0.86), (2, 0.45, 0.55), (4, -0.06, 0.03), (5, -0.10, -0.03)]
)
@pytest.mark.parametrize("axis", [1, 2])
def test_texture_is_that_of_calcium_scans(
    noise: NDArray[np.float64], lag: int, low: float, high: float, axis: int
) -> None:
    assert low <= correlation(noise, lag, axis) <= high


@pytest.mark.parametrize("pixel_mm", [0.32, 0.475, 0.9, 1.6])
def test_every_pixel_size_samples_the_same_texture(pixel_mm: float) -> None:
    drawn = draw_noise((30, 128, 128), pixel_mm, np.random.default_rng(6))
    for lag in (1, 2):
        expected = float(autocorrelation(np.array(lag * pixel_mm)))
        assert correlation(drawn, lag, 2) == pytest.approx(expected, abs=0.03)


def test_neighbouring_slices_share_some_noise(noise: NDArray[np.float64]) -> None:
    assert correlation(noise, 1, 0) == pytest.approx(SLICE_CORRELATION, abs=0.03)
    assert correlation(noise, 2, 0) == pytest.approx(0.0, abs=0.03)


@pytest.mark.parametrize("shape", [(2, 33, 40), (1, 40, 33), (3, 31, 31)])
def test_odd_sizes_keep_the_standard_deviation(shape: tuple[int, int, int]) -> None:
    drawn = [draw_noise(shape, 1.5, np.random.default_rng(seed)) for seed in range(20)]
    assert np.std(drawn) == pytest.approx(1.0, abs=0.03)
