"""Overlays and the slice that is shown."""

import numpy as np
import pytest

from app.calcium.labels import CALCIUM_LABELS, REGION_LABELS
from server.demo.pictures import Panel, best_slice, draw_row, overlay
from tests.server.demo.scans import SHAPE, scan


def test_shows_the_slice_with_most_calcium() -> None:
    truth = scan()
    truth.labels[1, 2, 2] = 0
    # Slice 1 has three calcium voxels left, slice 2 four.
    assert best_slice([truth]) == 2


def test_shows_where_something_was_predicted_when_there_is_no_true_calcium() -> None:
    empty = scan(np.zeros(SHAPE, np.uint8))
    found = scan()
    found.labels[2] = 0
    assert best_slice([empty, found]) == 1


def test_shows_the_middle_when_nobody_found_anything() -> None:
    assert best_slice([scan(np.zeros(SHAPE, np.uint8))]) == 2


def test_calcium_is_opaque_regions_are_pale_and_the_rest_is_clear() -> None:
    labels = np.array([[CALCIUM_LABELS["LM"], REGION_LABELS["LM_region"], 0]], np.uint8)
    image = overlay(labels, labels == CALCIUM_LABELS["LM"])
    assert image[0, :, 3].tolist() == pytest.approx([1.0, 0.28, 0.0])
    np.testing.assert_array_equal(image[0, 0, :3], image[0, 1, :3])


def test_every_artery_has_its_own_color() -> None:
    labels = np.array([list(CALCIUM_LABELS.values())], np.uint8)
    colors = {tuple(pixel) for pixel in overlay(labels, labels > 0)[0]}
    assert len(colors) == 4


def test_draws_a_row_as_png() -> None:
    assert draw_row([Panel("image", scan(), False), Panel("oracle", scan())], 1)[1:4] == b"PNG"
