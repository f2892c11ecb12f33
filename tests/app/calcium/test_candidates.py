import math

import numpy as np
import pytest

from app.calcium.candidates import (
    THRESHOLD_HU_BY_KEV,
    candidate_mask,
    threshold_for_kvp,
    threshold_hu,
)


@pytest.mark.parametrize(
    ("kvp", "hu"), [(80, 167), (100, 147), (120, 130), (120.0, 130), (99.8, 147)]
)
def test_a_published_voltage_has_its_threshold(kvp: float, hu: int) -> None:
    assert threshold_for_kvp(kvp).hu == hu
    assert threshold_for_kvp(kvp).warning is None


@pytest.mark.parametrize("kvp", [None, math.nan, 0.0, -120.0, 70.0, 110.0, 140.0])
def test_another_voltage_falls_back_to_130_with_a_warning(kvp: float | None) -> None:
    threshold = threshold_for_kvp(kvp)
    assert threshold.hu == threshold_hu(kvp) == 130
    assert threshold.warning


def test_the_warning_names_the_voltage() -> None:
    assert "140 kV" in (threshold_for_kvp(140.0).warning or "")


def test_a_candidate_reaches_the_threshold() -> None:
    hu = np.array([129, 130, 131, -1024, 3071], np.int16)
    np.testing.assert_array_equal(candidate_mask(hu, 130), [False, True, True, False, True])


def test_the_monoenergetic_threshold_falls_with_energy() -> None:
    assert (THRESHOLD_HU_BY_KEV[40], THRESHOLD_HU_BY_KEV[70]) == (339, 132)
    assert THRESHOLD_HU_BY_KEV[190] == 64
    values = list(THRESHOLD_HU_BY_KEV.values())
    assert values == sorted(values, reverse=True)
