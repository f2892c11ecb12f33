"""Figures of patients, which must be those of the evaluation."""

from dataclasses import asdict

import numpy as np
import pytest

from app.calcium.labels import LABELS
from app.evaluation import agreement
from app.settings import Settings
from app.simulation.judging import Column, figures, judge_patient, pooled_volume_f1, stack
from tests.app.test_evaluation import SHAPE, block, case, drawn, heart, prediction
from tests.factories import make_grid

SETTINGS = Settings()
GRID = make_grid(SHAPE, spacing_mm=(3.0, 1.0, 1.0))


def test_figures_are_those_of_the_evaluation() -> None:
    nothing = np.zeros(SHAPE, np.bool_)
    whole, half = block(slice(4, 8)), block(slice(4, 6))
    image = heart(whole, GRID)
    pairs = [
        (case(image, whole), prediction(image, half)),
        (case(image, half), prediction(image, half)),
        (case(image, nothing), prediction(image, half)),
        (case(image, whole), prediction(image, nothing)),
    ]
    own = asdict(figures(stack([judge_patient(one, found, SETTINGS) for one, found in pairs])))
    expected = asdict(agreement(pairs, SETTINGS))
    shared = own.keys() & expected.keys()
    assert shared >= {"volume_f1", "agatston_icc", "agatston_mae", "category_kappa"}
    assert {name: own[name] for name in shared} == pytest.approx(
        {name: expected[name] for name in shared}
    )


def test_a_lesion_is_found_by_any_voxel_and_invented_without_one() -> None:
    everything = block(slice(2, 4)) | block(slice(6, 8)) | block(slice(10, 12))
    image = heart(everything, GRID)
    true = block(slice(2, 4)) | block(slice(6, 8))
    own = block(slice(3, 4)) | block(slice(10, 12))
    row = judge_patient(case(image, true), prediction(image, own), SETTINGS)
    counts = row[[Column.LESIONS_FOUND, Column.LESIONS_INVENTED, Column.LESIONS_MISSED]]
    assert counts.tolist() == [1, 1, 1]
    assert figures(row[None]).lesion_f1 == 0.5


def test_paint_below_the_threshold_is_no_lesion() -> None:
    bright = block(slice(4, 6))
    image = heart(bright, GRID)
    row = judge_patient(case(image, block(slice(10, 12))), prediction(image, bright), SETTINGS)
    assert row[Column.LESIONS_MISSED] == 0
    assert row[Column.LESIONS_INVENTED] == 1


def test_calcium_counts_into_the_region_of_its_artery() -> None:
    calcium = block(slice(4, 6))
    image = heart(calcium, GRID)
    found = prediction(image, calcium)
    found.labels[:] = np.where(calcium, LABELS["LAD_region"], 0)
    row = judge_patient(case(image, calcium), found, SETTINGS)
    assert row[Column.REGION_SHARED] == calcium.sum()
    found.labels[:] = np.where(calcium, LABELS["RCA_region"], 0)
    assert judge_patient(case(image, calcium), found, SETTINGS)[Column.REGION_SHARED] == 0
    assert drawn(calcium).max() == LABELS["LAD"]


def test_volume_is_pooled_over_patients_before_it_becomes_a_figure() -> None:
    table = np.zeros((2, len(Column)))
    table[0, : Column.TRUE_AGATSTON] = 96, 0, 0
    table[1, : Column.TRUE_AGATSTON] = 0, 0, 384
    assert pooled_volume_f1(table) == pytest.approx(2 * 96 / (2 * 96 + 384))
    assert pooled_volume_f1(np.stack([table, table * 0])).tolist() == pytest.approx([1 / 3, 1.0])
