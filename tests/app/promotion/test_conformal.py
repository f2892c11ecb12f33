import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.promotion.conformal import (
    calibrate,
    conformal_quantile,
    interval,
    leave_one_out_coverage,
    needed_patients,
    relative_error,
    spread,
)
from tests.app.promotion.made_up import case


@pytest.mark.parametrize(
    ("count", "level", "expected"),
    [
        (8, 0.9, None),  # ceil(9 * 0.9) = 9 of 8
        (9, 0.9, 9.0),  # ceil(10 * 0.9) = 9, no rounding up of 9.000000000000002
        (10, 0.9, 10.0),  # ceil(9.9) = 10
        (19, 0.9, 18.0),  # ceil(18.0) = 18
        (99, 0.9, 90.0),
        (3, 0.75, 3.0),
        (0, 0.9, None),
    ],
)
def test_quantile_has_the_rank_of_a_finite_sample(
    count: int, level: float, expected: float | None
) -> None:
    errors = np.random.default_rng(1).permutation(np.arange(1, count + 1))
    assert conformal_quantile(errors, level) == expected


@pytest.mark.parametrize(("level", "needed"), [(0.9, 9), (0.95, 19), (0.5, 1), (0.8, 4)])
def test_needed_patients_are_the_fewest_with_a_quantile(level: float, needed: int) -> None:
    assert needed_patients(level) == needed
    assert conformal_quantile(np.arange(needed), level) is not None
    assert conformal_quantile(np.arange(needed - 1), level) is None


@pytest.mark.parametrize("count", [9, 12, 25])
def test_new_patients_are_held_as_often_as_promised(count: int) -> None:
    rng = np.random.default_rng(4)
    trials = rng.lognormal(size=(8_000, count + 1))
    held = [row[-1] <= (conformal_quantile(row[:-1], 0.9) or 0.0) for row in trials]
    # Exactly ceil((n + 1) 0.9) / (n + 1) for continuous errors; standard deviation 0.003.
    exact = math.ceil((count + 1) * 0.9 - 1e-9) / (count + 1)
    assert np.mean(held) == pytest.approx(exact, abs=0.01)
    assert exact >= 0.9


def test_spread_is_of_the_logarithm_and_never_zero() -> None:
    # log(1 + 0) = 0 and log(1 + e^2 - 1) = 2: standard deviation 1.
    assert spread((0.0, math.e**2 - 1)) == pytest.approx(1.1)
    assert spread((30.0, 30.0)) == pytest.approx(0.1)
    assert spread(()) == pytest.approx(0.1)


def test_error_is_in_units_of_the_spread() -> None:
    found = case(
        "a",
        wanted=(0.0, math.e**3 - 1, 0.0, 0.0),
        predicted=(0.0, math.e - 1, 0.0, 0.0),
        samples=(0.0, math.e**2 - 1),
    )
    assert relative_error(found) == pytest.approx(2.0 / 1.1)


def test_interval_reaches_the_wanted_score_at_its_own_error() -> None:
    samples = (0.0, math.e**2 - 1)
    low, high = interval(math.e - 1, samples, 2.0 / 1.1)
    assert high == pytest.approx(math.e**3 - 1)
    assert low == 0.0


@given(
    st.floats(0, 5000),
    st.lists(st.floats(0, 5000), min_size=1, max_size=20),
    st.floats(0, 20),
)
def test_interval_holds_the_prediction_and_nothing_negative(
    agatston: float, samples: list[float], quantile: float
) -> None:
    low, high = interval(agatston, samples, quantile)
    assert 0 <= low <= agatston * (1 + 1e-9) + 1e-9
    assert high >= agatston * (1 - 1e-9) - 1e-9


@pytest.mark.parametrize(("patients", "expected"), [(10, 9 / 10), (15, 14 / 15), (33, 30 / 33)])
def test_left_out_coverage_is_the_same_for_every_network(patients: int, expected: float) -> None:
    rng = np.random.default_rng(patients)
    for deviation in (0.1, 3.0):
        errors = rng.lognormal(0.0, deviation, patients).tolist()
        assert leave_one_out_coverage(errors, 0.9) == pytest.approx(expected)


def test_coverage_leaves_out_the_patient_it_asks_about() -> None:
    # With nine others the quantile is their largest; only the largest of all is not held.
    errors = [float(number) for number in range(10)]
    assert leave_one_out_coverage(errors, 0.9) == pytest.approx(0.9)
    assert leave_one_out_coverage(errors[:9], 0.9) is None


def test_one_image_of_a_patient_calibrates() -> None:
    found = calibrate([case(f"image-{number}") for number in range(9)])
    assert (found.patients, found.quantile, found.coverage) == (9, 0.0, None)


def test_too_few_patients_give_no_quantile() -> None:
    found = calibrate([case("a")])
    assert (found.patients, found.quantile, found.coverage) == (1, None, None)
