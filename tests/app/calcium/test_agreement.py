import csv
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.calcium.agreement import (
    bland_altman,
    icc_2_1,
    mean_absolute_error,
    volume_f1,
    weighted_kappa,
)
from app.calcium.risk import risk_index
from tests.real_data import real_data

scores = st.floats(0, 3000)
score_pairs = st.lists(st.tuples(scores, scores), min_size=2, max_size=20)
category_pairs = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30)


class TestIcc:
    def test_shrout_and_fleiss_by_hand(self) -> None:
        # Means of images 1.5, 2.5, 3.5, 4.5: MSR = 2 x 5/3 = 10/3; means of raters 2.5 and 3.5:
        # MSC = 4 x 0.5 = 2; no residual: MSE = 0.
        # (10/3 - 0) / (10/3 + 0 + 2 (2 - 0) / 4) = (10/3) / (13/3)
        assert icc_2_1([1, 2, 3, 4], [2, 3, 4, 5]) == pytest.approx(10 / 13)

    def test_a_case_with_residual_by_hand(self) -> None:
        # Images (0, 2), (4, 4), (8, 6): means 1, 4, 7: MSR = 2 x 9 = 18; raters both 4: MSC = 0;
        # residuals -1, 1, 0, 0, 1, -1: MSE = 4 / 2 = 2.
        # (18 - 2) / (18 + 2 + 2 (0 - 2) / 3) = 16 / (56/3)
        assert icc_2_1([0, 4, 8], [2, 4, 6]) == pytest.approx(6 / 7)

    @given(score_pairs)
    def test_agrees_with_sums_over_single_values(self, pairs: list[tuple[float, float]]) -> None:
        assume(len({value for pair in pairs for value in pair}) > 1)
        n, grand = len(pairs), sum(map(sum, pairs)) / (2 * len(pairs))
        rater_means = [sum(pair[rater] for pair in pairs) / n for rater in (0, 1)]
        total = sum((value - grand) ** 2 for pair in pairs for value in pair)
        rows = sum(2 * (sum(pair) / 2 - grand) ** 2 for pair in pairs)
        columns = sum(n * (mean - grand) ** 2 for mean in rater_means)
        msr, msc, mse = rows / (n - 1), columns, (total - rows - columns) / (n - 1)
        spread = msr + mse + 2 * (msc - mse) / n
        # Differences of nearly equal sums of squares say nothing.
        assume(spread > 1e-3 * total)
        first, second = zip(*pairs, strict=True)
        assert icc_2_1(first, second) == pytest.approx((msr - mse) / spread, abs=1e-6)

    @given(score_pairs)
    def test_is_at_most_one_and_symmetric(self, pairs: list[tuple[float, float]]) -> None:
        first, second = zip(*pairs, strict=True)
        icc = icc_2_1(first, second)
        assert icc <= 1 + 1e-9
        assert math.isfinite(icc)
        assert icc == pytest.approx(icc_2_1(second, first), rel=1e-3)

    @pytest.mark.parametrize("value", [0.0, 0.1, 123.4])
    def test_two_equal_constants_agree(self, value: float) -> None:
        assert icc_2_1([value] * 3, [value] * 3) == 1

    def test_two_different_constants_do_not_agree(self) -> None:
        assert icc_2_1([0, 0, 0], [1, 1, 1]) == 0

    def test_two_images_in_opposite_order_disagree(self) -> None:
        # MSR = MSC = 0 and MSE = 1: (0 - 1) / (0 + 1 + 2 (0 - 1) / 2) has no value.
        assert icc_2_1([0, 5], [5, 0]) == -1

    @pytest.mark.parametrize(
        ("first", "second"), [([1], [1]), ([1, 2], [1, 2, 3]), ([1, math.nan], [1, 2]), ([], [])]
    )
    def test_pairs_without_meaning_are_refused(
        self, first: list[float], second: list[float]
    ) -> None:
        with pytest.raises(ValueError, match="expected"):
            icc_2_1(first, second)


class TestKappa:
    def test_linear_weights_by_hand(self) -> None:
        # Observed distance 1/3; expected: shares (1/3, 1/3, 1/3) and (1/3, 2/3, 0), distances
        # |0-1| x 2/9 + |1-0| x 1/9 + |2-0| x 1/9 + |2-1| x 2/9 = 7/9; 1 - 3/7
        assert weighted_kappa([0, 1, 2], [0, 1, 1]) == pytest.approx(4 / 7)

    def test_quadratic_weights_by_hand(self) -> None:
        # Observed 1/3; expected 2/9 + 1/9 + 4/9 + 2/9 = 1
        assert weighted_kappa([0, 1, 2], [0, 1, 1], "quadratic") == pytest.approx(2 / 3)

    @pytest.mark.parametrize("power", [1, 2])
    @given(pairs=category_pairs)
    def test_agrees_with_the_table_of_counts(
        self, power: int, pairs: list[tuple[int, int]]
    ) -> None:
        table = np.zeros((5, 5))
        for one, other in pairs:
            table[one, other] += 1 / len(pairs)
        weights = np.array([[1 - (abs(i - j) / 4) ** power for j in range(5)] for i in range(5)])
        observed = (weights * table).sum()
        expected = (weights * np.outer(table.sum(1), table.sum(0))).sum()
        assume(expected < 1 - 1e-9)
        first, second = zip(*pairs, strict=True)
        kappa = weighted_kappa(first, second, "linear" if power == 1 else "quadratic")
        assert kappa == pytest.approx((observed - expected) / (1 - expected), abs=1e-9)

    def test_one_category_everywhere_agrees(self) -> None:
        assert weighted_kappa([2, 2], [2, 2]) == 1

    def test_a_constant_rater_is_chance(self) -> None:
        assert weighted_kappa([0, 0, 0, 0], [0, 1, 2, 3]) == pytest.approx(0)

    def test_opposite_raters_are_below_chance(self) -> None:
        # Observed 1; expected 1/2
        assert weighted_kappa([0, 1], [1, 0]) == -1

    def test_an_image_that_counts_twice_is_two_images(self) -> None:
        twice = weighted_kappa([0, 1, 2, 2], [0, 1, 1, 1])
        assert weighted_kappa([0, 1, 2], [0, 1, 1], counts=[0.5, 0.5, 1]) == pytest.approx(twice)

    def test_fractions_are_refused(self) -> None:
        with pytest.raises(ValueError, match="whole numbers"):
            weighted_kappa([0.5, 1], [0, 1])


class TestBlandAltman:
    def test_by_hand(self) -> None:
        # Differences -1, 1, 3: mean 1, standard deviation 2
        agreement = bland_altman([1, 3, 5], [2, 2, 2])
        assert agreement.bias == pytest.approx(1)
        assert agreement.lower == pytest.approx(1 - 3.92)
        assert agreement.upper == pytest.approx(1 + 3.92)

    def test_equal_measurements_have_no_limits_apart(self) -> None:
        agreement = bland_altman([0, 0], [0, 0])
        assert (agreement.bias, agreement.lower, agreement.upper) == (0, 0, 0)

    def test_one_pair_is_refused(self) -> None:
        with pytest.raises(ValueError, match="N >= 2"):
            bland_altman([1], [1])


class TestMeanAbsoluteError:
    def test_by_hand(self) -> None:
        assert mean_absolute_error([1, 5], [4, 4]) == 2  # (3 + 1) / 2

    def test_no_pair_is_refused(self) -> None:
        with pytest.raises(ValueError, match="N >= 1"):
            mean_absolute_error([], [])


class TestVolumeF1:
    def test_is_the_harmonic_mean_of_sensitivity_and_predictive_value(self) -> None:
        # Sensitivity 6/8, predictive value 6/12: 2 x 3/4 x 1/2 / (5/4)
        assert volume_f1(6, 6, 2) == pytest.approx(0.6)

    def test_no_calcium_and_none_called_is_perfect(self) -> None:
        assert volume_f1(0, 0, 0) == 1

    @pytest.mark.parametrize(("false_positive", "false_negative"), [(1, 0), (0, 1), (2, 3)])
    def test_nothing_found_is_zero(self, false_positive: float, false_negative: float) -> None:
        assert volume_f1(0, false_positive, false_negative) == 0

    @pytest.mark.parametrize("volume", [-1, math.nan, math.inf])
    def test_an_impossible_volume_is_refused(self, volume: float) -> None:
        with pytest.raises(ValueError, match="finite volumes"):
            volume_f1(volume, 1, 1)

    @given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1e6))
    def test_lies_between_zero_and_one(self, tp: float, fp: float, fn: float) -> None:
        assert 0 <= volume_f1(tp, fp, fn) <= 1


def test_published_pairs_give_the_published_agreement() -> None:
    # The scores of 396 patients are not part of the vectors; put the file there to check.
    with real_data("Results_NLST.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    automatic, manual = ([float(row[name]) for row in rows] for name in ("CAC_AI", "CAC_manual"))
    assert icc_2_1(automatic, manual) == pytest.approx(0.7713, abs=1e-4)
    categories = risk_index(automatic), risk_index(manual)
    assert weighted_kappa(*categories) == pytest.approx(0.7631, abs=1e-4)
    assert weighted_kappa(*categories, "quadratic") == pytest.approx(0.8618, abs=1e-4)
    agreement = bland_altman(automatic, manual)
    assert agreement.bias == pytest.approx(-136.21, abs=0.01)
    assert (agreement.lower, agreement.upper) == pytest.approx((-1023.6, 751.2), abs=0.1)
