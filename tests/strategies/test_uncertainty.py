import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.special import softmax

from strategies.uncertainty import (
    category_entropy,
    clinical_uncertainty,
    mutual_information,
    pairwise_dice_disagreement,
    predictive_entropy,
    variance_shares,
)

logits = arrays(
    np.float64,
    array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=6),
    elements=st.floats(-50, 50),
)
agatston_samples = arrays(
    np.float64,
    st.tuples(st.integers(0, 4), st.integers(2, 8)),
    elements=st.floats(0, 3000) | st.just(0.0),
)
mask_stacks = arrays(np.bool_, st.tuples(st.integers(2, 6), st.integers(0, 20)))


@given(logits)
def test_information_stays_within_its_bounds(values: np.ndarray) -> None:
    _, passes, classes = values.shape
    probs = softmax(values, axis=-1)
    gain = mutual_information(probs)
    assert (gain >= 0).all()
    assert (gain <= np.log(min(passes, classes)) + 1e-9).all()
    assert (gain <= predictive_entropy(probs) + 1e-9).all()


@given(logits)
def test_entropy_stays_within_its_bounds(values: np.ndarray) -> None:
    entropy = predictive_entropy(softmax(values, axis=-1))
    assert (entropy >= 0).all()
    assert (entropy <= np.log(values.shape[2]) + 1e-9).all()


@given(logits, st.integers(0, 2**32 - 1))
def test_order_of_passes_and_classes_does_not_matter(values: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    probs = softmax(values, axis=-1)
    shuffled = rng.permutation(rng.permutation(probs, axis=1), axis=2)
    np.testing.assert_allclose(mutual_information(shuffled), mutual_information(probs), atol=1e-12)


def test_information_belongs_to_its_own_item() -> None:
    agree, disagree = [[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]
    gain = mutual_information(np.array([agree, disagree, agree]))
    np.testing.assert_allclose(gain, [0.0, math.log(2), 0.0], atol=1e-12)


@pytest.mark.parametrize("row", [[1.0, 0.0], [0.0, 1.0, 0.0], [0.5, 0.5]])
def test_five_identical_passes_carry_no_information(row: list[float]) -> None:
    assert mutual_information(np.array([[row] * 5])).tolist() == [0.0]


def test_information_is_not_negative_by_rounding() -> None:
    # Without a floor this case comes out at -1.1e-16.
    assert mutual_information(np.array([[[0.3, 0.7]] * 7])).tolist() == [0.0]


def test_background_counts_in_the_entropy_of_two_classes() -> None:
    # Background 0.75: -0.75 ln 0.75 - 0.25 ln 0.25 = 0.2158 + 0.3466.
    entropy = predictive_entropy(np.array([[[0.75, 0.25]]]))
    assert entropy == pytest.approx([0.5623], abs=1e-4)


def test_entropy_is_of_the_mean_prediction() -> None:
    # Two sure and contradicting passes: mean (0.5, 0.5), ln 2.
    assert predictive_entropy(np.array([[[1.0, 0.0], [0.0, 1.0]]])) == pytest.approx([math.log(2)])


def test_correction_multiplies_by_passes_over_passes_less_one() -> None:
    probs = np.array([[[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]])
    # ln 2 over four passes, times 4 / 3.
    assert mutual_information(probs, correct_bias=True) == pytest.approx([math.log(2) * 4 / 3])


def test_corrected_information_hardly_depends_on_the_number_of_passes() -> None:
    rng = np.random.default_rng(5)
    lesion = rng.beta(2, 6, size=(4000, 50))
    probs = np.stack([lesion, 1 - lesion], axis=-1)
    few, many = probs[:, :5], probs
    # Five passes show 4/5 of the disagreement: 20 % less plain, within 4 % corrected.
    assert mutual_information(few).mean() / mutual_information(many).mean() < 0.85
    ratio = (
        mutual_information(few, correct_bias=True).mean()
        / mutual_information(many, correct_bias=True).mean()
    )
    assert ratio == pytest.approx(1.0, abs=0.04)


def test_no_item_gives_no_value() -> None:
    assert mutual_information(np.empty((0, 3, 2))).shape == (0,)


@pytest.mark.parametrize(
    ("probs", "message"),
    [
        (np.ones((2, 2)), r"expected probabilities of shape \(N, T, C\), got \(2, 2\)"),
        (np.ones((1, 0, 2)), "expected at least one pass, got none"),
        (np.array([[[1.5, -0.5]]]), "expected probabilities >= 0"),
        (np.array([[[np.nan, 1.0]]]), "expected probabilities >= 0"),
        (np.array([[[0.5, 0.4]]]), "sum to 1, got a sum off by 0.1"),
    ],
)
def test_what_is_no_distribution_is_refused(probs: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mutual_information(probs)


def test_one_pass_cannot_be_corrected() -> None:
    with pytest.raises(ValueError, match="expected at least two passes, got 1"):
        mutual_information(np.array([[[0.5, 0.5]]]), correct_bias=True)


class TestPairwiseDiceDisagreement:
    def test_masks_without_overlap(self) -> None:
        masks = np.array([[1, 1, 0, 0], [0, 0, 1, 1]], dtype=np.bool_)
        # Dice (0 + 1) / (2 + 2 + 1) = 0.2.
        assert pairwise_dice_disagreement(masks, smoothing_voxels=1) == pytest.approx(0.8)

    def test_mean_over_all_pairs(self) -> None:
        masks = np.array([[1, 1], [1, 0], [0, 0]], dtype=np.bool_)
        # (2 + 1) / 4, (0 + 1) / 3, (0 + 1) / 2: mean of 9/12, 4/12, 6/12 is 19/36.
        assert pairwise_dice_disagreement(masks, smoothing_voxels=1) == pytest.approx(17 / 36)

    @given(mask_stacks, st.floats(0.1, 50))
    def test_stays_within_its_bounds(self, masks: np.ndarray, smoothing: float) -> None:
        assert 0 <= pairwise_dice_disagreement(masks, smoothing_voxels=smoothing) < 1

    @given(mask_stacks, st.integers(0, 2**32 - 1))
    def test_order_of_passes_does_not_matter(self, masks: np.ndarray, seed: int) -> None:
        shuffled = np.random.default_rng(seed).permutation(masks, axis=0)
        first, second = (
            pairwise_dice_disagreement(stack, smoothing_voxels=3.0) for stack in (masks, shuffled)
        )
        assert first == pytest.approx(second, abs=1e-12)

    @given(mask_stacks)
    def test_equal_masks_agree(self, masks: np.ndarray) -> None:
        same = np.repeat(masks[:1], 5, axis=0)
        assert pairwise_dice_disagreement(same, smoothing_voxels=3.0) == 0

    def test_a_voxel_that_flickers_counts_less_than_a_lesion(self) -> None:
        masks = np.zeros((2, 20), dtype=np.bool_)
        masks[0, 0] = True
        flicker = pairwise_dice_disagreement(masks, smoothing_voxels=4.0)
        masks[0, :12] = True
        lesion = pairwise_dice_disagreement(masks, smoothing_voxels=4.0)
        # 1 - 4 / 5 and 1 - 4 / 16.
        assert (flicker, lesion) == pytest.approx((0.2, 0.75))

    def test_no_voxel_is_no_disagreement(self) -> None:
        masks = np.empty((3, 0), dtype=np.bool_)
        assert pairwise_dice_disagreement(masks, smoothing_voxels=3.0) == 0

    def test_refuses_one_mask_and_no_smoothing(self) -> None:
        with pytest.raises(ValueError, match=r"expected masks of shape \(T, V\), got \(3,\)"):
            pairwise_dice_disagreement(np.ones(3, dtype=np.bool_), smoothing_voxels=1)
        with pytest.raises(ValueError, match="expected at least two passes, got 1"):
            pairwise_dice_disagreement(np.ones((1, 3), dtype=np.bool_), smoothing_voxels=1)
        with pytest.raises(ValueError, match="expected smoothing_voxels > 0, got 0"):
            pairwise_dice_disagreement(np.ones((2, 3), dtype=np.bool_), smoothing_voxels=0)


def test_clinical_uncertainty_is_the_spread_of_the_logarithm() -> None:
    # log1p of 0 and e^2 - 1 is 0 and 2: mean 1, squares 1 + 1, over T - 1 = 1: root 2.
    spread = clinical_uncertainty(np.array([[0.0, math.e**2 - 1], [7.0, 7.0]]))
    assert spread == pytest.approx([math.sqrt(2), 0.0])


def test_the_same_step_matters_more_at_a_low_score() -> None:
    low, high = clinical_uncertainty(np.array([[0.0, 20.0], [1000.0, 1020.0]]))
    assert low > high


@given(agatston_samples)
def test_clinical_uncertainty_is_finite_and_not_negative(samples: np.ndarray) -> None:
    spread = clinical_uncertainty(samples)
    assert spread.shape == (samples.shape[0],)
    assert (np.isfinite(spread) & (spread >= 0)).all()


def test_category_entropy_counts_categories_not_scores() -> None:
    # 1-10 and 101-400, half each: ln 2; all within 11-100: 0; one of four elsewhere:
    # -0.25 ln 0.25 - 0.75 ln 0.75 = 0.5623.
    samples = np.array([[5.0, 9.0, 101.0, 350.0], [11, 50, 99, 100], [0, 0, 0, 0.5]])
    assert category_entropy(samples) == pytest.approx([math.log(2), 0.0, 0.5623], abs=1e-4)


@given(agatston_samples)
def test_category_entropy_stays_within_its_bounds(samples: np.ndarray) -> None:
    entropy = category_entropy(samples)
    assert (entropy >= 0).all()
    assert (entropy <= np.log(min(samples.shape[1], 5)) + 1e-9).all()


@pytest.mark.parametrize("measure", [clinical_uncertainty, category_entropy])
def test_impossible_scores_are_refused(measure: object) -> None:
    assert callable(measure)
    with pytest.raises(ValueError, match=r"expected Agatston scores of shape \(N, T\), got \(3,\)"):
        measure(np.zeros(3))
    with pytest.raises(ValueError, match="expected at least two passes, got 1"):
        measure(np.zeros((3, 1)))
    with pytest.raises(ValueError, match="expected finite Agatston scores >= 0"):
        measure(np.array([[0.0, np.nan]]))


def spread(deviation: float, artery: int = 0) -> np.ndarray:
    """Two passes over two arteries whose log(1 + Agatston) differ by twice the deviation."""
    scores = np.zeros((2, 2))
    scores[:, artery] = np.expm1([3.0 - deviation, 3.0 + deviation])
    return scores


def test_shares_are_the_parts_of_the_variance() -> None:
    # Variances with T - 1: 2 * 2² = 8, 2 * 1² = 2 and 2 * 0.5² = 0.5.
    shares = variance_shares(spread(2.0), spread(1.0), spread(0.5, artery=1))
    assert (shares.lesion, shares.region) == pytest.approx((0.25, 0.0625))


def test_shares_never_exceed_the_whole() -> None:
    # 8 and 2 of 4.5: their proportion stays, 8 / 10 and 2 / 10.
    shares = variance_shares(spread(1.5), spread(2.0), spread(1.0))
    assert (shares.lesion, shares.region) == pytest.approx((0.8, 0.2))


def test_calcium_that_only_changes_its_artery_is_the_regions_doubt() -> None:
    moving = np.array([[50.0, 0.0], [0.0, 50.0]])
    steady = np.array([[50.0, 0.0], [50.0, 0.0]])
    shares = variance_shares(moving, steady, moving)
    assert (shares.lesion, shares.region) == (0.0, 1.0)


def test_nothing_that_varies_has_no_shares() -> None:
    steady = np.full((3, 4), 7.0)
    shares = variance_shares(steady, steady, steady)
    assert (shares.lesion, shares.region) == (0.0, 0.0)
