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


def test_a_table_needs_a_row_for_each_image() -> None:
    with pytest.raises(ValueError, match=r"expected embedding of shape \(6, 3\), got \(5, 3\)"):
        replace(mixed_pool(), embedding=np.zeros((5, 3), np.float32))


def test_taking_some_images_takes_their_rows_and_keeps_what_is_known_of_the_pool() -> None:
    whole = replace(
        mixed_pool(),
        embedding=np.arange(12, dtype=np.float32).reshape(6, 2),
        taken_embedding=np.ones((4, 2), np.float32),
        step=3,
    )
    part = whole.take(np.array([2, 0]))
    assert part.agatston.tolist() == [900.0, 5.0]
    assert part.embedding is not None
    assert part.embedding.tolist() == [[4.0, 5.0], [0.0, 1.0]]
    assert part.taken_embedding is whole.taken_embedding
    assert part.step == 3


def test_annotating_takes_time() -> None:
    with pytest.raises(ValueError, match="expected finite expected_seconds > 0"):
        replace(mixed_pool(), expected_seconds=np.zeros(6))
