"""What holds for every volume, label map and rule."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.calcium.labels import ARTERIES
from app.calcium.rules import get_rule, rule_names
from app.calcium.score import CalciumScores, calcium_scores
from tests.app.calcium.random_volumes import LabeledVolume, labeled_volumes
from tests.app.calcium.slow_reference import slow_agatston, slow_default_agatston

every_rule = pytest.mark.parametrize("rule", rule_names())
few_examples = settings(max_examples=20)
"""For laws that eleven rules go through; the default rule is tried with the usual hundred."""


def scores_of(volume: LabeledVolume, rule: str = "agatston") -> CalciumScores:
    return calcium_scores(
        volume.hu, volume.labels, spacing_mm=volume.spacing_mm, kvp=120, rule=rule
    )


@given(labeled_volumes())
def test_the_default_agrees_with_ten_slow_lines(volume: LabeledVolume) -> None:
    expected = slow_default_agatston(volume.hu, volume.mask, volume.spacing_mm)
    assert scores_of(volume).total.agatston == pytest.approx(expected, abs=1e-6)


@every_rule
@few_examples
@given(volume=labeled_volumes())
def test_every_rule_agrees_with_the_slow_reference(rule: str, volume: LabeledVolume) -> None:
    expected = slow_agatston(volume.hu, volume.mask, volume.spacing_mm, get_rule(rule))
    assert scores_of(volume, rule).total.agatston == pytest.approx(expected, abs=1e-6)


@every_rule
@few_examples
@given(volume=labeled_volumes())
def test_the_arteries_add_up_to_the_total(rule: str, volume: LabeledVolume) -> None:
    scores = scores_of(volume, rule)
    parts = [scores.arteries[name] for name in ARTERIES]
    assert scores.total.agatston == pytest.approx(sum(part.agatston for part in parts))
    assert scores.total.volume_mm3 == pytest.approx(sum(part.volume_mm3 for part in parts))
    assert scores.total.mass_mg == pytest.approx(sum(part.mass_mg for part in parts))
    lesions = [part.lesions for part in parts]
    assert max(lesions) <= scores.total.lesions <= sum(lesions)


@every_rule
@few_examples
@given(volume=labeled_volumes())
def test_a_score_is_zero_in_all_measures_or_in_none(rule: str, volume: LabeledVolume) -> None:
    total = scores_of(volume, rule).total
    measures = (total.agatston, total.volume_mm3, total.mass_mg, total.lesions)
    assert len({measure > 0 for measure in measures}) == 1


@every_rule
@few_examples
@given(volume=labeled_volumes(), axis=st.integers(0, 2))
def test_flipping_an_axis_changes_nothing(rule: str, volume: LabeledVolume, axis: int) -> None:
    flipped = volume._replace(hu=np.flip(volume.hu, axis), labels=np.flip(volume.labels, axis))
    assert_same(scores_of(flipped, rule), scores_of(volume, rule))


@every_rule
@few_examples
@given(volume=labeled_volumes())
def test_exchanging_rows_and_columns_changes_nothing(rule: str, volume: LabeledVolume) -> None:
    increment_mm, row_mm, column_mm = volume.spacing_mm
    turned = LabeledVolume(
        volume.hu.transpose(0, 2, 1),
        volume.labels.transpose(0, 2, 1),
        (increment_mm, column_mm, row_mm),
    )
    assert_same(scores_of(turned, rule), scores_of(volume, rule))


@given(labeled_volumes(), st.integers(130, 1200), st.integers(1, 4))
def test_a_separate_lesion_never_lowers_a_score(volume: LabeledVolume, hu: int, label: int) -> None:
    margin = ((0, 0), (0, 4), (0, 4))
    larger = volume._replace(
        hu=np.pad(volume.hu, margin, constant_values=40), labels=np.pad(volume.labels, margin)
    )
    larger.hu[0, -3:, -3:] = hu
    larger.labels[0, -3:, -3:] = label
    before, after = scores_of(volume).total, scores_of(larger).total
    assert after.agatston >= before.agatston
    assert after.volume_mm3 >= before.volume_mm3
    assert after.lesions >= before.lesions


@every_rule
@few_examples
@given(volume=labeled_volumes())
def test_labels_below_the_threshold_change_nothing(rule: str, volume: LabeledVolume) -> None:
    painted = np.where((volume.hu < 130) & (volume.labels == 0), 3, volume.labels)
    wide = volume._replace(labels=painted.astype(np.uint8))
    assert scores_of(wide, rule) == scores_of(volume, rule)


@given(labeled_volumes())
def test_the_total_does_not_depend_on_the_border_between_arteries(volume: LabeledVolume) -> None:
    merged = volume._replace(labels=np.where(volume.mask, 2, volume.labels).astype(np.uint8))
    assert_same_total(scores_of(volume), scores_of(merged))


@given(labeled_volumes())
def test_scoring_leaves_its_input_alone(volume: LabeledVolume) -> None:
    hu, labels = volume.hu.copy(), volume.labels.copy()
    scores_of(volume)
    np.testing.assert_array_equal(volume.hu, hu)
    np.testing.assert_array_equal(volume.labels, labels)


def assert_same(first: CalciumScores, second: CalciumScores) -> None:
    assert_same_total(first, second)
    for name in ARTERIES:
        one, other = first.arteries[name], second.arteries[name]
        assert one.agatston == pytest.approx(other.agatston)
        assert one.lesions == other.lesions


def assert_same_total(first: CalciumScores, second: CalciumScores) -> None:
    assert first.total.agatston == pytest.approx(second.total.agatston)
    assert first.total.volume_mm3 == pytest.approx(second.total.volume_mm3)
    assert first.total.mass_mg == pytest.approx(second.total.mass_mg)
    assert first.total.lesions == second.total.lesions
    assert first.risk_category == second.risk_category
