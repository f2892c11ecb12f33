from dataclasses import replace

import numpy as np
import pytest

from tests.strategies.factories import mixed_pool, pool


def test_length_is_the_number_of_images() -> None:
    assert len(mixed_pool()) == 6
    assert len(pool([])) == 0


@pytest.mark.parametrize(
    "name", ["clinical_uncertainty", "lesion_uncertainty", "agatston", "patient", "has_candidates"]
)
def test_arrays_of_different_length_are_refused(name: str) -> None:
    candidates = mixed_pool()
    with pytest.raises(ValueError, match=rf"expected {name} of shape \(6,\), got \(5,\)"):
        replace(candidates, **{name: getattr(candidates, name)[:5]})


@pytest.mark.parametrize("name", ["is_scored", "has_candidates"])
def test_masks_of_numbers_are_refused(name: str) -> None:
    candidates = mixed_pool()
    with pytest.raises(ValueError, match=f"expected {name} of type bool, got int64"):
        replace(candidates, **{name: getattr(candidates, name).astype(np.int64)})


def test_patients_must_be_whole_numbers() -> None:
    with pytest.raises(ValueError, match="expected integer patient numbers, got float64"):
        replace(mixed_pool(), patient=np.zeros(6))  # type: ignore[arg-type]  # a wrong type is tested


@pytest.mark.parametrize("name", ["clinical_uncertainty", "lesion_uncertainty", "agatston"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -0.1])
def test_impossible_measures_are_refused_where_scored(name: str, value: float) -> None:
    measures = getattr(mixed_pool(), name).copy()
    measures[0] = value
    with pytest.raises(ValueError, match=f"expected finite {name} >= 0 of every scored image"):
        replace(mixed_pool(), **{name: measures})
