"""Clicks a little beside the calcium."""

import dataclasses

import numpy as np
import pytest

from app.clicks.snapping import snap
from tests.app.clicks.scenes import field, scene

SHAPE = (5, 60, 60)

LESION = np.s_[2:3, 20:24, 20:24]


@pytest.mark.parametrize(
    ("click", "seed"),
    [
        ((2, 21, 22), (2, 21, 22)),
        # Six voxels of 0.5 mm are 3 mm, seven are too far.
        ((2, 21, 29), (2, 21, 23)),
        ((2, 21, 30), None),
        # The nearest, not the first.
        ((2, 18, 18), (2, 20, 20)),
        ((2, 25, 26), (2, 23, 23)),
    ],
)
def test_snaps_within_three_millimetres(
    click: tuple[int, int, int], seed: tuple[int, int, int] | None
) -> None:
    assert snap(field(scene(SHAPE, LESION)), click) == seed


def test_never_snaps_to_another_slice() -> None:
    assert snap(field(scene(SHAPE, LESION)), (3, 21, 21)) is None


def test_noise_is_not_snapped_to_but_hit() -> None:
    # Three voxels of 0.25 mm2 are less than the 1 mm2 of a lesion.
    hu = scene(SHAPE, np.s_[2:3, 20:21, 20:23])
    assert snap(field(hu), (2, 22, 21)) is None
    assert snap(field(hu), (2, 20, 21)) == (2, 20, 21)


def test_a_lesion_farther_away_is_preferred_to_noise() -> None:
    hu = scene(SHAPE, LESION, np.s_[2:3, 26:27, 20:21])
    assert snap(field(hu), (2, 26, 21)) == (2, 23, 21)


@pytest.mark.parametrize("click", [(-1, 21, 21), (5, 21, 21), (2, -9, 21), (2, 21, 10**30)])
def test_a_click_outside_is_on_nothing(click: tuple[int, int, int]) -> None:
    assert snap(field(scene(SHAPE, LESION)), click) is None


def test_nothing_outside_the_roi_is_snapped_to() -> None:
    whole = field(scene(SHAPE, LESION))
    roi = dataclasses.replace(whole, low=(0, 0, 25), high=(5, 60, 60))
    assert snap(roi, (2, 21, 25)) is None
    assert snap(roi, (2, 21, 22)) is None
