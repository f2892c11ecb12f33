import numpy as np
import pytest
from numpy.typing import NDArray

from app.calcium.canonical import canonical_labels
from app.errors import LabelError
from app.imaging.labelmap import LabelMap, Segment
from app.imaging.volume import Grid

GRID = Grid((1, 1, 4), np.eye(4))


def label_map(*layers: list[int], segments: tuple[Segment, ...] = ()) -> LabelMap:
    array: NDArray[np.uint16] = np.array(layers, np.uint16).reshape(-1, 1, 1, 4)
    return LabelMap(array if len(layers) > 1 else array[0], GRID, segments)


def canonical(*layers: list[int], segments: tuple[Segment, ...] = ()) -> list[int]:
    labels = canonical_labels(label_map(*layers, segments=segments))
    assert labels.dtype == np.uint8
    values: list[int] = labels[0, 0].tolist()
    return values


def test_canonical_values_without_names_stay() -> None:
    assert canonical([0, 1, 4, 8]) == [0, 1, 4, 8]


def test_names_decide_and_values_do_not() -> None:
    segments = Segment("RCA", 1), Segment("LM", 2), Segment("LAD_region", 300)
    assert canonical([1, 2, 300, 0], segments=segments) == [4, 1, 6, 0]


def test_case_and_blanks_of_a_name_do_not_matter() -> None:
    assert canonical([7, 0, 0, 0], segments=(Segment(" lcx ", 7),)) == [3, 0, 0, 0]


def test_two_segments_of_one_name_are_one_label() -> None:
    segments = Segment("LAD", 1), Segment("lad", 2)
    assert canonical([1, 2, 0, 0], segments=segments) == [2, 2, 0, 0]


def test_background_and_empty_segments_do_not_count() -> None:
    segments = Segment("background", 1), Segment("Segment_9", 9), Segment("LAD", 2)
    assert canonical([1, 2, 0, 0], segments=segments) == [0, 2, 0, 0]


def test_calcium_wins_over_region_and_the_first_artery_over_the_next() -> None:
    segments = Segment("LAD_region", 1, 0), Segment("LAD", 1, 1), Segment("LM", 1, 2)
    layers = [1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 1, 1]
    assert canonical(*layers, segments=segments) == [6, 2, 1, 1]


def test_an_unknown_name_with_voxels_is_refused() -> None:
    with pytest.raises(LabelError, match=r"no label 'liver'; known: LM, LAD, LCX, RCA, LM_region"):
        canonical([1, 0, 0, 0], segments=(Segment("liver", 1),))


def test_voxels_without_a_name_are_refused() -> None:
    with pytest.raises(LabelError, match="voxels of value 5, which no segment names"):
        canonical([1, 5, 0, 0], segments=(Segment("LAD", 1),))


def test_a_value_outside_the_contract_is_refused() -> None:
    with pytest.raises(
        LabelError, match="from 0 to 8 where the file names no segments, got value 9"
    ):
        canonical([9, 0, 0, 0])


def test_layers_without_names_are_refused() -> None:
    with pytest.raises(LabelError, match="got 2 layers"):
        canonical([1, 0, 0, 0], [2, 0, 0, 0])


def test_a_layer_that_does_not_exist_is_refused() -> None:
    with pytest.raises(LabelError, match="'LAD' is in layer 3 of 1"):
        canonical([1, 0, 0, 0], segments=(Segment("LAD", 1, 3),))
