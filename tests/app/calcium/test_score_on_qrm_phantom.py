"""A real CT of a phantom whose inserts have published scores."""

import csv
from functools import cache

import numpy as np
import pytest

from app.calcium.score import ArteryScore, calcium_scores
from app.imaging.orientation import to_axial
from app.imaging.reader import read_volume
from app.imaging.volume import Volume
from tests.real_data import real_data

SCAN = "Large_rep1"
SLICES = slice(21, 24)
MARGIN_MM = 2.5
"""Blur around an insert that still belongs to it."""

CENTRES = {
    ("5mm", "800mg"): (220, 180),
    ("5mm", "400mg"): (151, 291),
    ("5mm", "200mg"): (282, 299),
    ("3mm", "800mg"): (221, 206),
    ("3mm", "400mg"): (173, 280),
    ("3mm", "200mg"): (260, 285),
    ("1mm", "800mg"): (220, 231),
}
"""Row and column of each insert: rings of 37, 25 and 13 mm around (217, 258)."""

PUBLISHED_COLUMNS = {"5mm": "large", "3mm": "medium", "1mm": "small"}
PUBLISHED_ROWS = {"800mg": "High Density", "400mg": "Medium Density", "200mg": "Low Density"}

every_insert = pytest.mark.parametrize("insert", CENTRES, ids=" ".join)


@cache
def scan() -> Volume:
    volume = read_volume(real_data("qrm-phantom"))
    hu, grid = to_axial(volume.hu, volume.grid)
    return Volume(hu, grid, volume.kvp)


def score_insert(insert: tuple[str, str], rule: str, mass_factor: float = 0.001) -> ArteryScore:
    volume = scan()
    rows, columns = np.ogrid[: volume.hu.shape[1], : volume.hu.shape[2]]
    row, column = CENTRES[insert]
    distance_mm = np.hypot(rows - row, columns - column) * volume.spacing_mm[1]
    labels = np.zeros(volume.hu.shape, np.uint8)
    labels[SLICES, distance_mm <= float(insert[0][0]) / 2 + MARGIN_MM] = 2
    return calcium_scores(
        volume.hu,
        labels,
        spacing_mm=volume.spacing_mm,
        kvp=volume.kvp,
        rule=rule,
        mass_factor=mass_factor,
    ).total


def published(insert: tuple[str, str]) -> dict[str, str]:
    with (real_data("qrm-phantom") / "agatston.csv").open(newline="") as file:
        rows = csv.DictReader(file)
        return next(
            row
            for row in rows
            if row["scan"] == SCAN and row["inserts"] == PUBLISHED_ROWS[insert[1]]
        )


@every_insert
@pytest.mark.parametrize("rule", ["agatston", "canon", "ge"])
def test_each_insert_is_within_ten_percent_of_its_published_score(
    insert: tuple[str, str], rule: str
) -> None:
    expected = float(published(insert)[f"calculated_agat_{PUBLISHED_COLUMNS[insert[0]]}"])
    assert score_insert(insert, rule).agatston == pytest.approx(expected, rel=0.1)


@every_insert
def test_each_insert_is_within_ten_percent_of_its_published_mass(insert: tuple[str, str]) -> None:
    row = published(insert)
    expected = float(row[f"calculated_mass_{PUBLISHED_COLUMNS[insert[0]]}"])
    found = score_insert(insert, "canon", float(row["mass_cal_factor"])).mass_mg
    assert found == pytest.approx(expected, rel=0.1)


# Four neighbours and more than 1 mm2, by an independent implementation.
INDEPENDENT = (401.99, 238.38, 138.12, 86.21, 69.54, 22.86, 5.72)


@pytest.mark.parametrize(
    ("insert", "expected"), list(zip(CENTRES, INDEPENDENT, strict=True)), ids=str
)
def test_an_independent_implementation_gives_the_same(
    insert: tuple[str, str], expected: float
) -> None:
    assert score_insert(insert, "ge").agatston == pytest.approx(expected, abs=0.005)
