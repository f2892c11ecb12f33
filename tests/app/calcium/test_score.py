import json

import numpy as np
import pytest

from app.calcium.labels import ARTERIES
from app.calcium.score import CalciumScores, calcium_scores
from app.errors import InvalidInputError, LabelError
from tests.app.calcium.blocks import SPACING_MM, Block, volume_of


def score(*blocks: Block, rule: str = "agatston", kvp: float | None = 120) -> CalciumScores:
    hu, labels = volume_of(*blocks)
    return calcium_scores(hu, labels, spacing_mm=SPACING_MM, kvp=kvp, rule=rule)


@pytest.mark.parametrize(
    ("peak_hu", "weight"),
    [(129, 0), (130, 1), (199, 1), (200, 2), (299, 2), (300, 3), (399, 3), (400, 4), (3071, 4)],
)
def test_the_weight_follows_the_peak(peak_hu: int, weight: int) -> None:
    # 4 pixels of 0.25 mm2 are exactly 1 mm2.
    assert score(Block(1, (4, 6), (4, 6), peak_hu)).total.agatston == weight


@pytest.mark.parametrize(("kvp", "lowest_hu"), [(80, 167), (100, 147), (120, 130), (None, 130)])
def test_calcium_starts_at_the_threshold_of_the_voltage(kvp: float | None, lowest_hu: int) -> None:
    assert score(Block(1, (4, 6), (4, 6), lowest_hu), kvp=kvp).total.agatston == 1
    below = score(Block(1, (4, 6), (4, 6), lowest_hu - 1), kvp=kvp)
    assert below.total.agatston == below.total.volume_mm3 == below.total.mass_mg == 0
    assert below.threshold_hu == lowest_hu


def test_an_unknown_voltage_is_warned_of() -> None:
    block = Block(1, (4, 6), (4, 6), 300)
    assert score(block, kvp=None).warnings
    assert score(block, kvp=120).warnings == ()


def test_a_given_threshold_replaces_that_of_the_voltage() -> None:
    hu, labels = volume_of(Block(1, (4, 6), (4, 6), 140))
    scores = calcium_scores(hu, labels, spacing_mm=SPACING_MM, kvp=None, threshold_hu=132)
    assert (scores.threshold_hu, scores.warnings, scores.total.agatston) == (132, (), 1.0)


def test_each_artery_has_its_own_scores() -> None:
    scores = score(
        Block(0, (0, 2), (0, 2), 150, label=1),
        Block(1, (0, 2), (0, 4), 250, label=2),
        Block(1, (4, 6), (0, 2), 350, label=3),
        Block(2, (8, 10), (8, 10), 1000, label=4),
    )
    # 1 mm2 x 1, 2 mm2 x 2, 1 mm2 x 3, 1 mm2 x 4
    assert [scores.arteries[name].agatston for name in ARTERIES] == [1, 4, 3, 4]
    assert scores.total.agatston == 12
    # Voxels of 0.75 mm3
    assert [scores.arteries[name].volume_mm3 for name in ARTERIES] == [3, 6, 3, 3]
    assert (scores.risk_category, scores.cac_drs, scores.rule) == ("11-100", "A1/N4", "agatston")


def test_mass_is_factor_times_volume_times_mean_attenuation() -> None:
    hu, labels = volume_of(Block(1, (4, 8), (4, 8), 250))
    scores = calcium_scores(hu, labels, spacing_mm=SPACING_MM, kvp=120, mass_factor=0.001)
    # 0.001 mg/mm3/HU x 12 mm3 x 250 HU
    assert scores.total.mass_mg == pytest.approx(3.0)
    assert scores.arteries["LAD"].mass_mg == pytest.approx(3.0)


def test_a_lesion_of_two_arteries_is_split_by_voxels_and_shares_its_peak() -> None:
    # One square of 4 mm2 with its peak of 450 HU in the LAD half.
    scores = score(Block(1, (4, 8), (4, 6), 450, label=2), Block(1, (4, 8), (6, 8), 150, label=3))
    assert scores.arteries["LAD"].agatston == scores.arteries["LCX"].agatston == 8  # 2 mm2 x 4
    assert scores.total.agatston == 16


def test_a_lesion_of_two_arteries_counts_once_in_total() -> None:
    scores = score(Block(1, (4, 8), (4, 6), 450, label=2), Block(1, (4, 8), (6, 8), 150, label=3))
    assert [scores.arteries[name].lesions for name in ARTERIES] == [0, 1, 1, 0]
    assert scores.total.lesions == 1


def test_the_share_of_an_artery_may_be_below_the_minimum_size() -> None:
    # 3 pixels of LM and 1 of LAD are one lesion of 1 mm2.
    scores = score(Block(1, (4, 5), (4, 7), 200, label=1), Block(1, (4, 5), (7, 8), 200, label=2))
    assert scores.arteries["LM"].agatston == 1.5
    assert scores.arteries["LAD"].agatston == 0.5


def test_lesions_are_counted_in_space() -> None:
    # Two slices of one lesion, touching at a corner, and a lesion of its own.
    scores = score(
        Block(0, (0, 2), (0, 2), 300),
        Block(1, (2, 4), (2, 4), 300),
        Block(1, (8, 10), (8, 10), 300),
    )
    assert scores.total.lesions == 2


def test_a_speck_below_the_minimum_size_counts_in_no_score() -> None:
    # 3 pixels = 0.75 mm2
    total = score(Block(1, (4, 5), (4, 7), 900)).total
    assert (total.agatston, total.volume_mm3, total.mass_mg, total.lesions) == (0, 0, 0, 0)


@pytest.mark.parametrize("label", [0, 5, 6, 7, 8])
def test_regions_and_background_do_not_count(label: int) -> None:
    scores = score(Block(1, (4, 8), (4, 8), 500, label=label))
    assert (scores.total.agatston, scores.risk_category, scores.cac_drs) == (0, "0", "A0/N0")


def test_rounding_errors_do_not_lift_a_score_into_the_next_category() -> None:
    # 100 x 100 pixels of 0.1 mm x 0.1 mm at weight 4 are 400, but 400.00000000000006 in floats.
    hu = np.full((1, 100, 100), 400, np.int16)
    labels = np.full(hu.shape, 2, np.uint8)
    scores = calcium_scores(hu, labels, spacing_mm=(3.0, 0.1, 0.1), kvp=120)
    assert scores.total.agatston == 400
    assert scores.risk_category == "101-400"


def test_ai_cac_rounds_each_lesion() -> None:
    # Two lesions of 3 voxels, 0.75 mm2 x 3 = 2.25, are 2 each.
    blocks = Block(1, (4, 5), (4, 7), 300), Block(1, (9, 10), (4, 7), 300)
    assert score(*blocks, rule="ai-cac").total.agatston == 4


def test_json_holds_every_number_under_its_name() -> None:
    scores = json.loads(json.dumps(score(Block(1, (4, 8), (4, 8), 250)).to_json()))
    assert scores["arteries"]["LAD"].keys() == {"agatston", "volume_mm3", "mass_mg", "lesions"}
    assert (scores["total"]["agatston"], scores["arteries"]["RCA"]["lesions"]) == (8.0, 0)
    assert (scores["risk_category"], scores["cac_drs"]) == ("1-10", "A1/N1")
    assert (scores["rule"], scores["threshold_hu"], scores["warnings"]) == ("agatston", 130, [])


def test_a_label_map_of_another_shape_is_refused() -> None:
    with pytest.raises(LabelError, match=r"shape \(3, 16, 16\) of its volume, got \(3, 16, 15\)"):
        calcium_scores(
            np.zeros((3, 16, 16), np.int16),
            np.zeros((3, 16, 15), np.uint8),
            spacing_mm=SPACING_MM,
            kvp=120,
        )


def test_a_label_value_without_meaning_is_refused() -> None:
    hu, labels = volume_of(Block(1, (4, 6), (4, 6), 200, label=9))
    with pytest.raises(LabelError, match="from 0 to 8, got 9"):
        calcium_scores(hu, labels, spacing_mm=SPACING_MM, kvp=120)


def test_labels_of_another_type_are_refused() -> None:
    hu, labels = volume_of()
    with pytest.raises(LabelError, match="8-bit unsigned"):
        calcium_scores(hu, labels.astype(np.int8), spacing_mm=SPACING_MM, kvp=120)


@pytest.mark.parametrize("spacing_mm", [(3.0, 0.5, 0.0), (3.0, -0.5, 0.5), (float("nan"), 1, 1)])
def test_impossible_spacing_is_refused(spacing_mm: tuple[float, float, float]) -> None:
    hu, labels = volume_of()
    with pytest.raises(InvalidInputError, match="positive spacing and mass factor"):
        calcium_scores(hu, labels, spacing_mm=spacing_mm, kvp=120)


def test_an_impossible_mass_factor_is_refused() -> None:
    hu, labels = volume_of()
    with pytest.raises(InvalidInputError, match="mass factor"):
        calcium_scores(hu, labels, spacing_mm=SPACING_MM, kvp=120, mass_factor=0)
