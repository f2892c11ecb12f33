import numpy as np
import pytest
from numpy.typing import NDArray

from app.calcium.labels import ARTERIES, CALCIUM_LABELS, REGION_LABELS
from app.calcium.phantom.anatomy import draw_anatomy
from app.calcium.phantom.labelling import draw_regions, label_calcium
from app.calcium.phantom.rasterise import Frame

SHAPE = (3, 12, 12)


def plaque(added_hu: float) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return what a plaque of 2 x 2 pixels adds, its blurred rim included, and its extent."""
    added = np.zeros(SHAPE, dtype=np.float32)
    added[1, 3:7, 3:7] = 60.0
    added[1, 4:6, 4:6] = added_hu
    extent = np.zeros(SHAPE, dtype=np.bool_)
    extent[1, 4:6, 4:6] = True
    return added, extent


def test_the_threshold_is_inclusive() -> None:
    added, extent = plaque(90.0)
    hu = np.full(SHAPE, 40, dtype=np.int16) + added.astype(np.int16)
    hu[1, 4, 4] = 129
    labels = label_calcium(hu, {"LCX": added}, {"LCX": extent}, 130)
    # 40 + 90 is exactly 130 in three pixels; the rim has 100.
    assert (labels == CALCIUM_LABELS["LCX"]).sum() == 3
    assert labels[1, 4, 4] == 0


def test_noise_beside_a_plaque_is_not_calcium() -> None:
    added, extent = plaque(200.0)
    hu = np.full(SHAPE, 40, dtype=np.int16) + added.astype(np.int16)
    # A noisy pixel that the plaque does not reach touches one that it does.
    hu[1, 3, 3], hu[1, 2, 2] = 140, 300
    labels = label_calcium(hu, {"LAD": added}, {"LAD": extent}, 130)
    assert labels[1, 3, 3] == CALCIUM_LABELS["LAD"]
    assert labels[1, 2, 2] == 0


def test_a_blurred_rim_alone_is_not_calcium() -> None:
    added, extent = plaque(60.0)
    hu = np.full(SHAPE, 40, dtype=np.int16)
    # Only a corner of the rim reaches the threshold, apart from the true extent.
    hu[1, 3, 3] = 200
    extent[1, 4, 4] = False
    assert not label_calcium(hu, {"LAD": added}, {"LAD": extent}, 130).any()


def test_the_stronger_of_two_plaques_owns_a_voxel() -> None:
    weak, extent = plaque(100.0)
    strong, _ = plaque(300.0)
    hu = np.full(SHAPE, 500, dtype=np.int16)
    for order in (("LM", "LAD"), ("LAD", "LM")):
        added = {"LM": weak, "LAD": strong}
        labels = label_calcium(
            hu, {name: added[name] for name in order}, dict.fromkeys(order, extent), 130
        )
        assert (labels[extent] == CALCIUM_LABELS["LAD"]).all()


def test_regions_surround_the_centrelines() -> None:
    coronaries = draw_anatomy(np.random.default_rng(8), metal=False).coronaries
    points = np.vstack([coronaries.trunks[artery].points for artery in ARTERIES])
    low, high = points.min(axis=0) - 15.0, points.max(axis=0) + 15.0
    x, y = np.linspace(low[0], high[0], 100), np.linspace(low[1], low[1] + high[0] - low[0], 100)
    z = np.linspace(low[2], high[2], 20)
    regions = draw_regions(coronaries, Frame(x, y, z, 3.0, float(z[1] - z[0])), 9.0)
    assert set(np.unique(regions)) == {0, *REGION_LABELS.values()}
    where = np.argwhere(regions)
    places = np.stack([x[where[:, 2]], y[where[:, 1]], z[where[:, 0]]], axis=1)
    for artery in ARTERIES:
        own = places[regions[tuple(where.T)] == REGION_LABELS[f"{artery}_region"]]
        trunk = coronaries.trunks[artery].points
        nearest = np.linalg.norm(own[:, None] - trunk[None], axis=2).min(axis=1)
        # Smoothing moves the edge of a blob by a pixel or two.
        assert nearest.max() < 9.0 + 4.0
        assert np.quantile(nearest, 0.9) < 9.0


@pytest.mark.parametrize("reach_mm", [8.0, 10.0])
def test_a_wider_reach_gives_larger_regions(reach_mm: float) -> None:
    coronaries = draw_anatomy(np.random.default_rng(8), metal=False).coronaries
    centres, z = np.linspace(-70.0, 110.0, 90), np.linspace(-40.0, 40.0, 10)
    frame = Frame(centres, centres - 40.0, z, 8.0, 9.0)
    narrow, wide = (np.count_nonzero(draw_regions(coronaries, frame, r)) for r in (6.0, reach_mm))
    assert wide > narrow
