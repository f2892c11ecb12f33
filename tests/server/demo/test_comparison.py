"""Predictions against the truth, patient by patient and over all of them."""

from dataclasses import replace
from pathlib import Path

import pytest

from app.calcium.labels import CALCIUM_LABELS, REGION_LABELS
from server.demo.comparison import Comparison, compare, summarise
from tests.server.demo.scans import prediction, scan

AGREEING = Comparison(
    shared_mm3=10.0,
    invented_mm3=0.0,
    missed_mm3=0.0,
    changed_voxels=0,
    true_agatston=50.0,
    found_agatston=50.0,
    interval=(40.0, 60.0),
)


def test_volumes_are_in_cubic_millimetres(tmp_path: Path) -> None:
    truth = scan()
    found = truth.labels.copy()
    found[1, 2, 2] = 0
    found[0, 0, 0] = CALCIUM_LABELS["LAD"]
    one = compare(truth, prediction(tmp_path, found, 30.0))
    # Voxels of 3 x 1 x 1 mm: 7 of 8 found, one missed; the invented one has 40 HU only.
    assert (one.shared_mm3, one.missed_mm3, one.invented_mm3) == (21.0, 3.0, 0.0)


def test_invented_calcium_counts_where_the_image_is_bright_enough(tmp_path: Path) -> None:
    truth = scan()
    truth.hu[0, 0, 0] = 130
    found = truth.labels.copy()
    found[0, 0, 0] = CALCIUM_LABELS["RCA"]
    assert compare(truth, prediction(tmp_path, found, 30.0)).invented_mm3 == 3.0


def test_a_wrong_artery_and_a_missed_voxel_have_to_be_corrected(tmp_path: Path) -> None:
    truth = scan()
    found = truth.labels.copy()
    found[1, 2, 2], found[1, 2, 3] = CALCIUM_LABELS["RCA"], 0
    assert compare(truth, prediction(tmp_path, found, 30.0)).changed_voxels == 2


def test_regions_need_no_correction(tmp_path: Path) -> None:
    truth = scan()
    found = truth.labels.copy()
    found[0] = REGION_LABELS["LAD_region"]
    assert compare(truth, prediction(tmp_path, found, 30.0)).changed_voxels == 0


def test_true_score_is_that_of_the_oracle(tmp_path: Path) -> None:
    truth = scan()
    # 4 mm2 of peak 200 HU weigh 2 in each of two slices of 3 mm: 2 * 4 * 2 = 16.
    assert compare(truth, prediction(tmp_path, truth.labels, 30.0)).true_agatston == 16.0


def test_summary_adds_the_volumes_of_all_patients() -> None:
    other = replace(AGREEING, shared_mm3=0.0, missed_mm3=20.0, found_agatston=0.0)
    # 2 * 10 / (2 * 10 + 20) over both, not the mean of 1 and 0.
    assert summarise([AGREEING, other]).volume_f1 == pytest.approx(0.5)


def test_summary_of_agreeing_patients_is_perfect() -> None:
    zero = replace(AGREEING, true_agatston=0.0, found_agatston=0.0, interval=(0.0, 0.0))
    figures = summarise([AGREEING, zero])
    assert figures.agatston_icc == pytest.approx(1.0)
    assert (figures.category_kappa, figures.agatston_mae) == (1.0, 0.0)


def test_summary_counts_calcium_invented_in_calcium_free_patients() -> None:
    free = replace(AGREEING, true_agatston=0.0, found_agatston=3.0, interval=(1.0, 4.0))
    figures = summarise([AGREEING, free])
    assert (figures.calcium_free, figures.false_calcium) == (1, 1)


@pytest.mark.parametrize(
    ("interval", "inside"), [((40.0, 60.0), 1), ((50.0, 50.0), 1), ((51.0, 60.0), 0), (None, 0)]
)
def test_interval_holds_the_true_score_with_both_ends(
    interval: tuple[float, float] | None, inside: int
) -> None:
    figures = summarise([replace(AGREEING, interval=interval)] * 2)
    assert figures.inside_interval == 2 * inside
