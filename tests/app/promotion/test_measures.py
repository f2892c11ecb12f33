import math

import pytest

from app.promotion import measures
from tests.app.promotion.made_up import case, results

NOTHING = (0.0, 0.0, 0.0, 0.0)


def test_primary_pools_the_volumes_of_all_images() -> None:
    found = results(case("a", volumes=(10.0, 0.0, 0.0)), case("b", volumes=(5.0, 5.0, 10.0)))
    assert measures.primary(found) == pytest.approx(30 / 45)


def test_false_calcium_counts_scans_without_calcium_only() -> None:
    found = results(
        case("a", wanted=NOTHING, predicted=(0.0, 0.0, 3.0, 0.0)),
        case("b", wanted=NOTHING),
        case("c", wanted=NOTHING),
        case("d", predicted=(90.0, 50.0, 0.0, 0.0)),
    )
    assert measures.guards(found)[measures.FALSE_CALCIUM] == pytest.approx(1 / 3)


def test_a_patient_counts_once_in_every_guard() -> None:
    # Two scans of one patient with false calcium, all of it in the LCX and in two categories, and
    # one good scan of each of two others.
    seen = (0.0, 0.0, math.e**2 - 1, 0.0)
    twice = [
        case(name, patient="one", wanted=NOTHING, predicted=seen, samples=(seen[2],))
        for name in "ab"
    ]
    others = [
        case("c", wanted=NOTHING, samples=(0.0,)),
        case("d", wanted=(0.0, 5.0, 0.0, 0.0), samples=(5.0,)),
    ]
    found = measures.guards(results(*twice, *others))
    assert found == pytest.approx(measures.guards(results(twice[0], *others)))
    assert found[measures.FALSE_CALCIUM] == pytest.approx(1 / 2)
    assert found["error of log(1 + Agatston) in the LCX"] == pytest.approx(2 / 3)


def test_two_scans_of_a_patient_weigh_as_one_in_the_primary_figure() -> None:
    lost = [case(name, patient="one", volumes=(0.0, 0.0, 10.0)) for name in "ab"]
    found = results(*lost, case("c", volumes=(10.0, 0.0, 0.0)))
    # 10 shared and 10 missed: 20 / 30, not 20 / 40.
    assert measures.primary(found) == pytest.approx(2 / 3)


def test_what_is_not_defined_is_left_out() -> None:
    names = measures.guards(results(case("a")))
    assert measures.FALSE_CALCIUM not in names
    assert measures.CALIBRATION not in names
    assert measures.KAPPA in names


def test_error_of_each_artery_is_on_the_logarithm() -> None:
    found = results(
        case("a", wanted=(0.0, math.e - 1, 0.0, 0.0), predicted=(0.0, 0.0, 0.0, 0.0)),
        case("b", wanted=(0.0, 10.0, 0.0, 7.0)),
    )
    # log(1 + e - 1) = 1 in one of two images.
    assert measures.artery_errors(found).tolist() == pytest.approx([0.0, 0.5, 0.0, 0.0])


def test_probability_error_is_zero_when_every_sample_is_right() -> None:
    assert measures.probability_error(results(case("a", samples=(40.0, 60.0)))) == 0.0


def test_probability_error_grows_with_the_distance_of_the_categories() -> None:
    # True category 11-100, the third of five. Half of the samples one category above: the
    # cumulative distributions differ by a half at one of four borders.
    assert measures.probability_error(results(case("a", samples=(50.0, 150.0)))) == 0.25 / 4
    # All samples two categories below: by one at two borders.
    assert measures.probability_error(results(case("a", samples=(0.0, 0.0)))) == 2 / 4


def test_worsening_has_the_sign_of_the_figure() -> None:
    assert measures.worsening(measures.KAPPA, 0.9, 0.6) == pytest.approx(0.3)
    assert measures.worsening(measures.FALSE_CALCIUM, 0.1, 0.4) == pytest.approx(0.3)


def test_every_guard_has_a_margin() -> None:
    found = measures.guards(results(case("a", wanted=NOTHING, samples=(0.0,)), case("b")))
    assert set(found) == set(measures.MARGINS)


def test_summary_is_json_without_nan() -> None:
    found = measures.summary(results(case("a", samples=(50.0,))))
    assert found["images"] == found["patients"] == 1
    assert "agatston_icc" not in found
    assert measures.summary(results()) == {}
