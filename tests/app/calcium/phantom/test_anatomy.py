from dataclasses import replace

import numpy as np
import pytest

from app.calcium.labels import ARTERIES
from app.calcium.phantom.anatomy import Anatomy, draw_anatomy, paint_tissues
from app.calcium.phantom.geometry import Plane
from app.calcium.phantom.heart import heart_frame
from app.calcium.phantom.metal import STENT, draw_metal
from app.calcium.phantom.motion import draw_motion
from app.calcium.phantom.rasterise import Frame
from app.calcium.phantom.texture import draw_waves

PATIENTS = 30


@pytest.fixture(scope="module")
def anatomies() -> list[Anatomy]:
    return [draw_anatomy(np.random.default_rng(seed), metal=True) for seed in range(PATIENTS)]


def test_the_frame_of_the_heart_is_right_angled() -> None:
    frame = heart_frame()
    np.testing.assert_allclose(frame @ frame.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(frame) == pytest.approx(1.0)


def test_the_heart_lies_to_the_left_and_points_left_forward_and_down(
    anatomies: list[Anatomy],
) -> None:
    for anatomy in anatomies:
        assert anatomy.heart.centre[0] > 5.0
        way = anatomy.heart.in_frame(np.array([10.0, 0.0, 0.0])) - anatomy.heart.centre
        assert way[0] > 0
        assert way[1] < 0
        assert way[2] < 0


def test_chambers_fill_a_heart_of_natural_size(anatomies: list[Anatomy]) -> None:
    grid = np.linspace(-90.0, 90.0, 46)
    for anatomy in anatomies[:8]:
        x, y, z = (
            axis + shift
            for axis, shift in zip(
                np.meshgrid(grid, grid, grid, indexing="ij"), anatomy.heart.centre, strict=True
            )
        )
        near = [chamber.distance(x, y, z) for chamber in anatomy.heart.chambers]
        millilitres = (anatomy.heart.sac_distance(near) < 0).sum() * 4.0**3 / 1000.0
        # 583 to 917 ml by heart masks, with some freedom for small and large patients.
        assert 420.0 < millilitres < 1100.0


def test_arteries_run_in_fat_outside_the_muscle(anatomies: list[Anatomy]) -> None:
    for anatomy in anatomies:
        for trunk in anatomy.coronaries.trunks.values():
            near = [chamber.distance(*trunk.points.T) for chamber in anatomy.heart.chambers]
            assert np.quantile(np.min(near, axis=0), 0.05) > 1.0


def test_left_arteries_part_in_one_fork(anatomies: list[Anatomy]) -> None:
    for anatomy in anatomies:
        trunks = anatomy.coronaries.trunks
        fork = trunks["LM"].points[-1]
        for artery in ("LAD", "LCX"):
            assert np.linalg.norm(trunks[artery].points[0] - fork) < 3.0


def test_arteries_lie_on_their_sides(anatomies: list[Anatomy]) -> None:
    for anatomy in anatomies:
        mean = {name: tube.points.mean(axis=0) for name, tube in anatomy.coronaries.trunks.items()}
        middle = {
            name: tube.points[len(tube.points) // 2]
            for name, tube in anatomy.coronaries.trunks.items()
        }
        # x grows to the left of the patient, y to the back.
        assert mean["RCA"][0] < min(mean["LAD"][0], mean["LM"][0])
        assert middle["LAD"][1] < middle["LCX"][1]


def test_the_main_stem_is_short(anatomies: list[Anatomy]) -> None:
    for anatomy in anatomies:
        lengths = {name: tube.length_mm for name, tube in anatomy.coronaries.trunks.items()}
        assert 5.0 <= lengths["LM"] <= 20.0
        assert all(lengths[artery] > 40.0 for artery in ARTERIES[1:])


def test_the_dominant_artery_reaches_the_posterior_groove(anatomies: list[Anatomy]) -> None:
    dominance = [anatomy.coronaries.left_dominant for anatomy in anatomies]
    assert 0 < sum(dominance) < PATIENTS / 2
    for anatomy in anatomies:
        lowest = {name: tube.points[:, 2].min() for name, tube in anatomy.coronaries.trunks.items()}
        supplying = "LCX" if anatomy.coronaries.left_dominant else "RCA"
        assert lowest[supplying] == min(lowest[name] for name in ("LCX", "RCA"))


def test_patients_differ(anatomies: list[Anatomy]) -> None:
    centres = np.array([anatomy.heart.centre for anatomy in anatomies])
    assert centres[:, :2].std(axis=0).min() > 1.5
    assert np.std([anatomy.heart.scale for anatomy in anatomies]) > 0.03
    assert np.std([anatomy.thorax.skin_fat_mm for anatomy in anatomies]) > 3.0


def test_few_patients_have_metal_and_none_where_it_is_not_allowed(
    anatomies: list[Anatomy],
) -> None:
    assert 0 < sum(bool(anatomy.metal) for anatomy in anatomies) < PATIENTS / 3
    worn = next(seed for seed, anatomy in enumerate(anatomies) if anatomy.metal)
    assert not draw_anatomy(np.random.default_rng(worn), metal=False).metal


def test_waves_have_unit_spread() -> None:
    centres = np.linspace(-100.0, 100.0, 64)
    spreads = [
        draw_waves((5.0, 30.0), 9, np.random.default_rng(seed))
        .on_plane(Plane(centres, centres, 3.0))
        .std()
        for seed in range(20)
    ]
    assert np.mean(spreads) == pytest.approx(1.0, abs=0.1)


def test_a_stent_is_a_bright_ring_in_its_artery(anatomies: list[Anatomy]) -> None:
    bare = replace(anatomies[0], metal=())
    drawn = (
        draw_metal(bare.heart, bare.coronaries, -90.0, np.random.default_rng(seed))
        for seed in range(500)
    )
    stent = next(part for parts in drawn for part in parts if part.name == STENT)
    place = stent.tube.points[len(stent.tube.points) // 2]
    side = np.linspace(-8.0, 8.0, 41)
    frame = Frame(side + place[0], side + place[1], np.array([place[2]]), 1.0, 1.0)
    rest = draw_motion(0.0, np.random.default_rng(1))
    without, with_ = (
        paint_tissues(replace(bare, metal=metal), frame, rest) for metal in ((), (stent,))
    )
    added = (with_ - without)[0]
    assert added.max() > 300.0
    # The lumen stays open, and the stent ends with the artery wall.
    assert added[20, 20] < 0.5 * added.max()
    assert np.count_nonzero(added > 100.0) * 0.16 < 60.0
