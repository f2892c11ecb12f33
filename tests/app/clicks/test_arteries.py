"""The artery of a lesion from the network's regions."""

import numpy as np
import pytest

from app.calcium.labels import LABELS
from app.clicks.arteries import AssignedArtery, artery_of
from tests.app.clicks.scenes import SPACING_MM

SHAPE = (6, 40, 40)

LESION = np.stack(np.meshgrid([2], [10, 11], [20, 21], indexing="ij")).reshape(3, -1)
"""Four voxels."""


def assigned(**regions: tuple[slice, slice, slice]) -> AssignedArtery | None:
    predicted = np.zeros(SHAPE, np.uint8)
    for name, box in regions.items():
        predicted[box] = LABELS[name]
    return artery_of(LESION, predicted, spacing_mm=SPACING_MM)


def test_the_artery_that_holds_most_wins() -> None:
    # Three voxels in the LCX, of which one is calcium already; one in the LAD.
    found = assigned(
        LAD_region=np.s_[2:3, 10:11, 20:21],
        LCX_region=np.s_[2:3, 10:12, 21:22],
        LCX=np.s_[2:3, 11:12, 20:21],
    )
    assert found == AssignedArtery("LCX", 0.75, 0.0)


def test_a_larger_region_beside_does_not_count() -> None:
    found = assigned(LM_region=np.s_[2:3, 10:11, 20:21], RCA_region=np.s_[:, 20:40, :])
    assert found == AssignedArtery("LM", 0.25, 0.0)


@pytest.mark.parametrize(
    ("box", "distance_mm"),
    [
        # Ten columns beside column 21 are 5 mm; eleven are too far.
        (np.s_[2:3, 10:11, 31:32], 5.0),
        (np.s_[2:3, 10:11, 32:33], None),
        # One slice is 3 mm, two are too far.
        (np.s_[3:4, 10:11, 20:21], 3.0),
        (np.s_[4:5, 10:11, 20:21], None),
    ],
)
def test_the_nearest_region_counts_within_a_bound(
    box: tuple[slice, slice, slice], distance_mm: float | None
) -> None:
    found = assigned(RCA_region=box)
    assert found == (None if distance_mm is None else AssignedArtery("RCA", 0.0, distance_mm))


def test_the_nearer_of_two_regions_counts() -> None:
    found = assigned(LAD_region=np.s_[2:3, 10:11, 26:27], LCX_region=np.s_[2:3, 10:11, 17:18])
    assert found is not None
    assert found.artery == "LCX"


def test_there_is_none_without_any_region() -> None:
    assert assigned() is None
