import numpy as np
import pytest

from app.calcium.labels import ARTERIES
from app.calcium.phantom import SCORE_CLASSES
from app.calcium.phantom.anatomy import Anatomy, draw_anatomy
from app.calcium.phantom.distractors import draw_distractors, on_pericardium
from app.calcium.phantom.geometry import Floats
from app.calcium.phantom.plaques import (
    CLASS_RANGES,
    CLASS_SHARES,
    Deposit,
    Sampling,
    draw_class,
    draw_plaques,
)

FINE, COARSE = Sampling(0.4, 3.0), Sampling(1.6, 4.0)


@pytest.fixture(scope="module")
def anatomies() -> list[Anatomy]:
    return [draw_anatomy(np.random.default_rng(seed), metal=False) for seed in range(12)]


def draw_many(
    anatomies: list[Anatomy], score_class: str, sampling: Sampling
) -> list[list[Deposit]]:
    return [
        list(draw_plaques(anatomy.coronaries, score_class, sampling, np.random.default_rng(seed)))
        for anatomy in anatomies
        for seed in range(8)
    ]


def distance_mm(place: Floats, anatomy: Anatomy, artery: str) -> float:
    points = anatomy.coronaries.trunks[artery].points
    return float(np.linalg.norm(points - place, axis=1).min())


def test_classes_have_their_shares() -> None:
    rng = np.random.default_rng(2)
    drawn = [draw_class(rng) for _ in range(4000)]
    for name, share in zip(SCORE_CLASSES, CLASS_SHARES, strict=True):
        # Four standard errors of a share of 0.4 are 0.031.
        assert drawn.count(name) / 4000 == pytest.approx(share, abs=0.031)


def test_two_of_five_patients_have_no_calcium() -> None:
    # DISCHARGE 43 %, PROMISE 35 %; 400 and more: 14 % and 15 %.
    assert 0.35 <= CLASS_SHARES[0] <= 0.43
    assert 0.12 <= CLASS_SHARES[-1] <= 0.16
    assert sum(CLASS_SHARES) == pytest.approx(1.0)


@pytest.mark.parametrize("sampling", [FINE, COARSE])
@pytest.mark.parametrize("score_class", SCORE_CLASSES[1:])
def test_masses_aim_at_the_class(
    anatomies: list[Anatomy], score_class: str, sampling: Sampling
) -> None:
    low, high = CLASS_RANGES[score_class]
    for plaques in draw_many(anatomies, score_class, sampling):
        aimed = sum(plaque.mass_mg for plaque in plaques) * sampling.agatston_per_mg
        # The smallest visible plaque is the grain of the sum, on either side.
        grain = sampling.least_mg * sampling.agatston_per_mg
        assert low - grain <= aimed <= max(high, grain) * 1.001


def test_class_zero_has_no_plaque(anatomies: list[Anatomy]) -> None:
    assert not any(draw_many(anatomies, "0", FINE))


def test_the_worst_class_calcifies_several_arteries(anatomies: list[Anatomy]) -> None:
    for plaques in draw_many(anatomies, ">400", FINE):
        assert len(plaques) >= 3
    mild = draw_many(anatomies, "1-10", FINE)
    assert all(len({plaque.artery for plaque in plaques}) == 1 for plaques in mild)


def test_the_descending_artery_calcifies_first_and_the_main_stem_last(
    anatomies: list[Anatomy],
) -> None:
    first = [plaques[0].artery for plaques in draw_many(anatomies, "1-10", FINE)]
    counts = {artery: first.count(artery) for artery in ARTERIES}
    assert max(counts, key=lambda artery: counts[artery]) == "LAD"
    assert min(counts, key=lambda artery: counts[artery]) == "LM"


def test_plaques_lie_in_the_wall_of_their_artery(anatomies: list[Anatomy]) -> None:
    for anatomy in anatomies:
        for plaque in draw_plaques(anatomy.coronaries, ">400", FINE, np.random.default_rng(1)):
            assert distance_mm(plaque.body.centre, anatomy, plaque.artery) < 2.5


def test_coarse_voxels_get_larger_plaques(anatomies: list[Anatomy]) -> None:
    fine, coarse = (
        np.mean([p.body.volume_mm3 for ps in draw_many(anatomies, ">400", s) for p in ps])
        for s in (FINE, COARSE)
    )
    assert coarse > 2.0 * fine
    assert FINE.growth == 1.0


def test_mass_is_density_times_volume(anatomies: list[Anatomy]) -> None:
    for plaque in draw_plaques(anatomies[0].coronaries, ">400", FINE, np.random.default_rng(1)):
        # mm³ times mg/cm³ is a thousandth of a milligram.
        expected = plaque.body.volume_mm3 * plaque.density_mg_cm3 / 1000.0
        assert plaque.mass_mg == pytest.approx(expected)
        assert 200.0 <= plaque.density_mg_cm3 <= 1200.0


def test_other_calcium_keeps_clear_of_the_arteries(anatomies: list[Anatomy]) -> None:
    found = 0
    for number, anatomy in enumerate(anatomies):
        for seed in range(6):
            rng = np.random.default_rng((number, seed))
            others = draw_distractors(anatomy.heart, anatomy.thorax, anatomy.coronaries, 1.0, rng)
            found += len(others)
            for other in others:
                assert other.artery == ""
                for artery in ARTERIES:
                    assert distance_mm(other.body.centre, anatomy, artery) > 4.0
    # A distractor in most patients, or the benchmark asks nothing.
    assert found > 72


def test_calcium_of_the_pericardium_lies_on_the_sac(anatomies: list[Anatomy]) -> None:
    for seed, anatomy in enumerate(anatomies):
        heart = anatomy.heart
        body = on_pericardium(heart, np.array([2.0, 0.8, 1.5]), np.random.default_rng(seed))
        place = body.centre[:, None]
        near = [chamber.distance(*place) for chamber in heart.chambers]
        assert abs(float(heart.sac_distance(near)[0])) < 1.0
