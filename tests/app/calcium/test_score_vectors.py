"""The tiny cases every scoring rule is defined by, worked out by hand.

A pixel is 0.25 mm2 unless stated, and slices are 3 mm apart, so that nothing is scaled.
"""

import json
from dataclasses import replace

import numpy as np
import pytest

from app.calcium.rules import MinimumSize, ScoringRule, get_rule, rule_names
from app.calcium.score import calcium_scores
from tests.app.calcium.blocks import SPACING_MM, Block, volume_of
from tests.real_data import real_data

AGATSTON = get_rule("agatston")
SQUARE = Block(1, (4, 8), (4, 8), 250)
DIAGONAL = (Block(1, (4, 5), (4, 5), 250), Block(1, (5, 6), (5, 6), 450))
TWO_SLICES = (Block(0, (4, 8), (4, 8), 150), Block(1, (4, 8), (4, 8), 450))
BRIDGED = (
    Block(1, (4, 8), (4, 6), 150),
    Block(1, (4, 8), (8, 10), 450),
    Block(0, (4, 8), (4, 10), 140),
)
AT_130 = Block(1, (4, 6), (4, 6), 130)
ROW_OF_3 = Block(1, (4, 5), (4, 7), 300)
JUST_BELOW_200 = Block(1, (4, 8), (4, 8), 199.5)


def agatston(
    *blocks: Block,
    rule: str | ScoringRule = "agatston",
    spacing_mm: tuple[float, float, float] = SPACING_MM,
) -> float:
    hu, labels = volume_of(*blocks, dtype=np.float32)
    return calcium_scores(hu, labels, spacing_mm=spacing_mm, kvp=120, rule=rule).total.agatston


def test_a_a_square_is_its_area_times_its_weight() -> None:
    # 16 pixels = 4 mm2, weight 2; 16 x 0.75 mm3
    hu, labels = volume_of(SQUARE)
    total = calcium_scores(hu, labels, spacing_mm=SPACING_MM, kvp=120).total
    assert (total.agatston, total.volume_mm3, total.lesions) == (8.0, 12.0, 1)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (AGATSTON, 0.0),  # 2 pixels = 0.5 mm2 are too few
        (replace(AGATSTON, minimum=MinimumSize()), 2.0),  # 0.5 mm2 x 4
        (get_rule("siemens"), 1.5),  # 0.25 mm2 x 2 + 0.25 mm2 x 4
    ],
)
def test_b_diagonal_pixels_join_under_eight_neighbours(rule: ScoringRule, expected: float) -> None:
    assert agatston(*DIAGONAL, rule=rule) == expected


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("agatston", 20.0),  # 4 mm2 x 1 + 4 mm2 x 4
        ("qurai", 20.0),
        ("ai-cac", 32.0),  # 8 mm2 x 4: one peak for both slices
    ],
)
def test_c_each_slice_has_its_own_peak(rule: str, expected: float) -> None:
    assert agatston(*TWO_SLICES, rule=rule) == expected


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (AGATSTON, 1.0),  # 4 pixels = 1 mm2, weight 1
        (replace(AGATSTON, is_threshold_included=False), 0.0),
        (get_rule("slicer-gist"), 0.0),
        (get_rule("ge"), 0.0),  # 1 mm2 is not above 1 mm2
    ],
)
def test_d_exactly_130_hu_and_exactly_1_mm2_count(rule: ScoringRule, expected: float) -> None:
    assert agatston(AT_130, rule=rule) == expected


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (AGATSTON, 0.0),  # 0.75 mm2
        (replace(AGATSTON, minimum=MinimumSize(3, "voxels")), 2.25),  # 0.75 mm2 x 3
        (get_rule("deepcac"), 0.0),
        (get_rule("canon"), 0.0),
        (get_rule("philips"), 2.25),
    ],
)
def test_e_three_pixels_count_where_they_are_enough(rule: ScoringRule, expected: float) -> None:
    assert agatston(ROW_OF_3, rule=rule) == expected


@pytest.mark.parametrize(("rule", "expected"), [("agatston", 4.0), ("segment-cacs", 8.0)])
def test_f_a_peak_between_whole_numbers_has_a_weight(rule: str, expected: float) -> None:
    # 4 mm2 at 199.5 HU: weight 1 below 200, weight 2 above 199
    assert agatston(JUST_BELOW_200, rule=rule) == expected


@pytest.mark.parametrize(("rule", "expected"), [("agatston", 4.0), ("slicer-gist", 8.0)])
def test_g_the_score_is_scaled_by_the_increment(rule: str, expected: float) -> None:
    # Case A with slices 1.5 mm apart
    assert agatston(SQUARE, rule=rule, spacing_mm=(1.5, 0.5, 0.5)) == expected


@pytest.mark.parametrize("rule", rule_names())
def test_h_a_mask_painted_too_large_changes_nothing(rule: str) -> None:
    hu, labels = volume_of(SQUARE)
    wide = labels.copy()
    wide[1, 3:9, 3:9] = 2
    exact, painted = (
        calcium_scores(hu, each, spacing_mm=SPACING_MM, kvp=120, rule=rule)
        for each in (labels, wide)
    )
    assert painted == exact
    assert painted.total.agatston == 8.0


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("agatston", 16.0),  # 2 mm2 x 1 + 2 mm2 x 4 + 6 mm2 x 1
        ("qurai", 22.0),  # 4 mm2 x 4 + 6 mm2 x 1
        ("segment-cacs", 22.0),
        ("ai-cac", 40.0),  # 10 mm2 x 4
    ],
)
def test_i_islands_joined_through_the_next_slice(rule: str, expected: float) -> None:
    assert agatston(*BRIDGED, rule=rule) == expected


def test_the_expected_values_are_the_published_ones() -> None:
    cases = json.loads(real_data("test_vectors.json").read_text())["synthetic"]
    square, below_130 = cases["A"], cases["D"]
    assert (square["agatston"], square["volume_mm3"]) == (8.0, 12.0)
    expected = {"B": (0.0, 2.0, 1.5), "C": (20.0, 32.0), "E": (0.0, 2.25, 0.0), "F": (4.0, 8.0)}
    expected |= {"G": (4.0, 8.0), "H": (8.0, 18.0), "I": (16.0, 22.0, 40.0)}
    assert tuple(v for k, v in below_130.items() if k != "put") == (1.0, 0.0, 0.0)
    for name, values in expected.items():
        assert tuple(v for k, v in cases[name].items() if k != "put") == values
