from dataclasses import astuple
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.stats import rankdata

from strategies.aggregation import (
    ImageUncertainty,
    foreground_uncertainty,
    image_uncertainty,
    lesion_uncertainty,
    rank_average,
    top_uncertainty,
    uncertainty_by_artery,
)

information = arrays(np.float64, st.integers(0, 30), elements=st.floats(0, 1.6))


def test_foreground_is_the_sum_over_voxels_and_a_smallest_lesion() -> None:
    # Voxels of 1.5 mm³: n0 = 3 / 1.5 = 2; (0.2 + 0.4) / (2 + 2).
    value = foreground_uncertainty(np.array([0.2, 0.4]), voxel_volume_mm3=1.5)
    assert value == pytest.approx(0.15)


def test_a_lone_uncertain_voxel_does_not_win_over_a_lesion() -> None:
    lone = foreground_uncertainty(np.array([0.6]), voxel_volume_mm3=0.5)
    lesion = foreground_uncertainty(np.full(20, 0.5), voxel_volume_mm3=0.5)
    # n0 = 6: 0.6 / 7 = 0.086 and 10 / 26 = 0.385.
    assert lone < lesion


def test_top_averages_the_largest_in_a_fixed_volume() -> None:
    values = np.array([0.1, 0.6, 0.3, 0.2])
    # 3 mm³ of 1.5 mm³ voxels are the two largest: (0.6 + 0.3) / 2.
    assert top_uncertainty(values, voxel_volume_mm3=1.5, top_mm3=3.0) == pytest.approx(0.45)


def test_top_fills_up_with_zeros() -> None:
    # One candidate where two are averaged: 0.6 / 2.
    value = top_uncertainty(np.array([0.6]), voxel_volume_mm3=1.5, top_mm3=3.0)
    assert value == pytest.approx(0.3)


def test_top_is_at_least_one_voxel() -> None:
    value = top_uncertainty(np.array([0.6, 0.2]), voxel_volume_mm3=8.0, top_mm3=3.0)
    assert value == pytest.approx(0.6)


def test_top_by_default_covers_thirty_cubic_millimeters() -> None:
    # Voxels of 3 mm³: the ten largest of twenty, all 1 but one.
    values = np.array([0.0] * 11 + [1.0] * 9)
    assert top_uncertainty(values, voxel_volume_mm3=3.0) == pytest.approx(0.9)


def test_lesions_weigh_by_the_score_at_stake() -> None:
    value = lesion_uncertainty(
        np.array([0.2, 0.4, 0.5, 0.9, 0.1]),
        component=np.array([1, 1, 2, 0, 3]),
        agatston_at_stake=np.array([50.0, 250.0, 0.0]),
    )
    # 0.3 * 0.5 + 0.5 * 1 + 0.1 * 0; the voxel of 0.9 is in no lesion.
    assert value == pytest.approx(0.65)


def test_a_lesion_without_voxels_adds_nothing() -> None:
    value = lesion_uncertainty(
        np.array([0.4]), component=np.array([2]), agatston_at_stake=np.array([100.0, 100.0])
    )
    assert value == pytest.approx(0.4)


@pytest.mark.parametrize("kind", ["uint8", "uint16", "uint32", "uint64", "int64"])
def test_component_numbers_of_any_width_are_taken(kind: str) -> None:
    component: NDArray[np.integer] = np.array([1, 1]).astype(kind)
    value = lesion_uncertainty(
        np.array([0.2, 0.4]), component=component, agatston_at_stake=np.array([100.0])
    )
    assert value == pytest.approx(0.3)


@given(information, st.floats(0.05, 20))
def test_voxel_aggregates_stay_within_the_range_of_a_voxel(
    values: NDArray[np.float64], volume: float
) -> None:
    highest = values.max(initial=0.0) + 1e-9
    assert 0 <= foreground_uncertainty(values, voxel_volume_mm3=volume) <= highest
    assert 0 <= top_uncertainty(values, voxel_volume_mm3=volume) <= highest


@given(information, st.integers(0, 2**32 - 1))
def test_order_of_voxels_does_not_matter(values: NDArray[np.float64], seed: int) -> None:
    rng = np.random.default_rng(seed)
    component = rng.integers(0, 4, values.size)
    samples = rng.integers(0, 5, (3, values.size)).astype(np.uint8)
    order = rng.permutation(values.size)
    first = aggregate(values, component, samples)
    second = aggregate(values[order], component[order], samples[:, order])
    assert flat(first) == pytest.approx(flat(second), abs=1e-9)


def flat(uncertainty: ImageUncertainty) -> tuple[Any, ...]:
    *numbers, by_artery = astuple(uncertainty)
    return (*numbers, *by_artery)


def aggregate(
    values: NDArray[np.float64], component: NDArray[np.int64], samples: NDArray[np.uint8]
) -> ImageUncertainty:
    return image_uncertainty(
        values,
        entropy=values,
        artery=np.full(values.shape, 2, np.uint8),
        component=component,
        agatston_at_stake=np.array([20.0, 80.0, 300.0]),
        artery_samples=samples,
        voxel_volume_mm3=0.75,
    )


def aggregate_volume(
    hu: NDArray[np.int16], maps: tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.uint8]]
) -> ImageUncertainty:
    values, component, samples = maps
    is_candidate = hu >= 130
    return aggregate(values[is_candidate], component[is_candidate], samples[:, is_candidate])


def test_air_around_the_volume_changes_nothing() -> None:
    rng = np.random.default_rng(7)
    shape = (4, 6, 6)
    hu = rng.integers(-100, 400, shape).astype(np.int16)
    values = rng.random(shape)
    component = rng.integers(0, 4, shape)
    samples = rng.integers(0, 5, (5, *shape)).astype(np.uint8)
    border = ((3, 2), (10, 4), (7, 9))
    padded = aggregate_volume(
        np.pad(hu, border, constant_values=-1000),
        (
            np.pad(values, border, constant_values=0.01),
            np.pad(component, border),
            np.pad(samples, ((0, 0), *border)),
        ),
    )
    plain = aggregate_volume(hu, (values, component, samples))
    assert min(flat(plain)[:5]) > 0
    assert flat(padded) == pytest.approx(flat(plain), abs=1e-6)


@given(information, st.integers(1, 500))
def test_certain_voxels_outside_lesions_do_not_dilute(
    values: NDArray[np.float64], extra: int
) -> None:
    component = np.ones(values.size, dtype=np.int64)
    stake = np.array([100.0])
    longer = np.pad(values, (0, extra))
    # A mean over all voxels, or K as a share of them, would fall here.
    assert top_uncertainty(longer, voxel_volume_mm3=3.0) == pytest.approx(
        top_uncertainty(values, voxel_volume_mm3=3.0)
    )
    assert lesion_uncertainty(
        longer, component=np.pad(component, (0, extra)), agatston_at_stake=stake
    ) == pytest.approx(lesion_uncertainty(values, component=component, agatston_at_stake=stake))


def test_an_image_without_candidates_is_zero_in_every_way() -> None:
    uncertainty = image_uncertainty(
        np.empty(0, dtype=np.float32),
        entropy=np.empty(0, dtype=np.float32),
        artery=np.empty(0, dtype=np.uint8),
        component=np.empty(0, dtype=np.uint16),
        agatston_at_stake=np.empty(0),
        artery_samples=np.empty((10, 0), dtype=np.uint8),
        voxel_volume_mm3=0.75,
    )
    assert flat(uncertainty) == (0.0,) * 9


def test_every_aggregate_has_its_own_place() -> None:
    uncertainty = image_uncertainty(
        np.array([0.2, 0.4], dtype=np.float32),
        entropy=np.array([0.3, 0.6]),
        artery=np.array([1, 3], np.uint8),
        component=np.array([1, 1]),
        agatston_at_stake=np.array([50.0]),
        artery_samples=np.array([[1, 2], [0, 0]], dtype=np.uint8),
        voxel_volume_mm3=1.5,
    )
    # n0 = 2: 0.6 / 4; K = 20 voxels: 0.6 / 20; 1 - 2 / (2 + 2); 0.3 * 0.5; 0.9 / 4.
    # By artery: 0.3 / (1 + 2) for LM and 0.6 / (1 + 2) for LCX.
    expected = (0.15, 0.03, 0.5, 0.15, 0.225, 0.1, 0.0, 0.2, 0.0)
    assert flat(uncertainty) == pytest.approx(expected)


@pytest.mark.parametrize("artery", [[0, 1], [1, 5], [1]])
def test_only_the_four_arteries_have_an_entropy(artery: list[int]) -> None:
    with pytest.raises(ValueError, match="arteries 1 to 4"):
        uncertainty_by_artery(
            np.array([0.1, 0.2]), artery=np.array(artery, np.uint8), voxel_volume_mm3=1.0
        )


def test_ranks_are_averaged_and_ties_share_theirs() -> None:
    terms = np.array([[10.0, 30.0, 20.0, 20.0], [0.4, 0.3, 0.2, 0.1]])
    # Ranks 1 4 2.5 2.5 and 4 3 2 1: means 2.5, 3.5, 2.25, 1.75, divided by 4.
    np.testing.assert_allclose(rank_average(terms), [0.625, 0.875, 0.5625, 0.4375])


@given(arrays(np.float64, (2, 12), elements=st.sampled_from([0.0, 0.5, 1.0, 2.0, 7.0])))
def test_ranks_are_those_of_scipy(terms: NDArray[np.float64]) -> None:
    expected = rankdata(terms, axis=1).mean(axis=0) / 12
    np.testing.assert_array_equal(rank_average(terms), expected)


@given(
    arrays(np.float64, st.tuples(st.integers(1, 3), st.integers(0, 8)), elements=st.floats(0, 9))
)
def test_ranks_ignore_the_unit(terms: NDArray[np.float64]) -> None:
    averaged = rank_average(terms)
    assert ((averaged > 0) & (averaged <= 1)).all()
    # Doubling is exact, so no new tie can appear.
    np.testing.assert_array_equal(rank_average(terms * 1024), averaged)


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.1])
def test_impossible_information_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="expected finite mutual information >= 0"):
        foreground_uncertainty(np.array([0.1, value]), voxel_volume_mm3=1.0)


def test_a_volume_of_information_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected one value per voxel \(V,\), got \(2, 2\)"):
        top_uncertainty(np.zeros((2, 2)), voxel_volume_mm3=1.0)


@pytest.mark.parametrize("volume", [0.0, -1.0, np.nan, np.inf])
def test_impossible_volumes_are_refused(volume: float) -> None:
    with pytest.raises(ValueError, match="expected voxel_volume_mm3 > 0"):
        foreground_uncertainty(np.array([0.1]), voxel_volume_mm3=volume)


@pytest.mark.parametrize(
    ("component", "stake", "message"),
    [
        ([1], [1.0], r"expected component of shape \(2,\), got \(1,\)"),
        ([1, 2], [1.0], "expected components 0 to 1, got 1 to 2"),
        ([-1, 1], [1.0], "expected components 0 to 1, got -1 to 1"),
        ([1, 1], [-1.0], "expected finite agatston_at_stake >= 0"),
        ([1, 1], [np.nan], "expected finite agatston_at_stake >= 0"),
    ],
)
def test_lesions_that_do_not_fit_are_refused(
    component: list[int], stake: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        lesion_uncertainty(
            np.zeros(2), component=np.array(component), agatston_at_stake=np.array(stake)
        )


def test_samples_of_another_image_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected artery_samples of shape \(T, 2\), got \(3,"):
        aggregate(np.zeros(2), np.zeros(2, dtype=np.int64), np.zeros((3, 5), dtype=np.uint8))


def test_measures_to_rank_must_be_finite_and_a_table() -> None:
    with pytest.raises(ValueError, match="expected finite measures"):
        rank_average(np.array([[0.1, np.nan]]))
    with pytest.raises(ValueError, match=r"expected measures of shape \(K, N\) with K > 0"):
        rank_average(np.zeros((0, 3)))
