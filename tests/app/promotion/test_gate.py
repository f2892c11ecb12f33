import numpy as np
import pytest

from app.promotion import measures
from app.promotion.gate import GatePolicy, decide
from app.promotion.results import Results, Volumes
from tests.app.promotion.made_up import alike, case, results

POLICY = GatePolicy(patients=8, margin=0.05, confidence=0.95, seed=1)

WORSE = (5.0, 0.0, 5.0)
"""Half of the calcium missed: F1 = 10 / 15."""


def with_zeros(false: int) -> Results:
    """Return eight patients with calcium and ten without, in some of whom some is seen."""
    nothing = (0.0, 0.0, 0.0, 0.0)
    seen = (0.0, 0.0, 0.5, 0.0)
    zeros = [
        case(
            f"zero-{number}",
            volumes=(0.0, 0.0, 0.0),
            wanted=nothing,
            predicted=seen if number < false else nothing,
        )
        for number in range(10)
    ]
    return results(*alike(8).cases, *zeros)


def few(sees: float, volumes: Volumes = (10.0, 0.0, 0.0)) -> Results:
    """Return two patients with calcium and one without, in whom some may be seen."""
    nothing, predicted = (0.0, 0.0, 0.0, 0.0), (0.0, sees, 0.0, 0.0)
    zero = case("zero", volumes=(0.0, 0.0, 0.0), wanted=nothing, predicted=predicted)
    return results(*alike(2, volumes).cases, zero)


def test_the_first_version_is_promoted() -> None:
    decision = decide(None, alike(0), POLICY, champion_id=None)
    assert decision.promote
    assert decision.reason == "promoted: the first version, there is no other"


def test_an_equal_version_is_promoted() -> None:
    decision = decide(alike(8), alike(8), POLICY, champion_id=3)
    assert decision.promote
    assert decision.reason == (
        "promoted: calcium volume F1 1.00 against 1.00 of version 3 on 8 validation patients;"
        " with 95% confidence at most 0.00 worse"
    )


def test_a_worse_version_is_kept_back() -> None:
    decision = decide(alike(8), alike(8, WORSE), POLICY, champion_id=3)
    assert not decision.promote
    # All patients are alike, so every resample has the same difference: 2/3 - 1.
    assert decision.lower_bound == pytest.approx(-1 / 3)
    assert decision.reason == (
        "kept back: calcium volume F1 0.67 against 1.00 of version 3 on 8 validation patients;"
        " with 95% confidence only a fall of more than 0.33 is excluded, 0.05 is asked for"
    )


def test_a_better_version_is_promoted() -> None:
    decision = decide(alike(8, WORSE), alike(8), POLICY, champion_id=3)
    assert decision.promote
    assert decision.reason.endswith("with 95% confidence at least 0.33 better")


@pytest.mark.parametrize(("missed", "promote"), [(1.04, True), (1.06, False)])
def test_the_margin_is_the_line(missed: float, promote: bool) -> None:
    # F1 = 20 / (20 + m): 0.951 and 0.9497.
    volumes = (10.0, 0.0, missed)
    margin = GatePolicy(patients=8, margin=0.05, seed=1)
    assert decide(alike(8), alike(8, volumes), margin, champion_id=1).promote is promote


def test_a_doubtful_version_is_kept_back_though_its_figure_is_within_the_margin() -> None:
    # 4 of 74 mm3 are lost: F1 falls by 4 / 144 = 0.028, but resamples that hold this patient
    # several times fall by more than 0.05.
    lost = case("image-7", volumes=(0.0, 0.0, 4.0))
    found = case("image-7", volumes=(4.0, 0.0, 0.0))
    champion = results(*alike(7).cases, found)
    challenger = results(*alike(7).cases, lost)
    decision = decide(champion, challenger, POLICY, champion_id=1)
    assert decision.primary is not None
    assert decision.primary.champion - decision.primary.challenger < 0.05
    assert not decision.promote


def test_more_false_calcium_is_kept_back_though_the_volume_is_as_good() -> None:
    decision = decide(with_zeros(false=0), with_zeros(false=2), POLICY, champion_id=4)
    assert not decision.promote
    assert decision.lower_bound == 0.0
    assert decision.reason.startswith(
        "kept back: share of scans without calcium in which some is seen 0.20 against 0.00,"
        " 0.10 worse is allowed; "
    )
    assert decision.reason.endswith(
        "; calcium volume F1 1.00 against 1.00 of version 4 on 18 validation patients"
    )


def test_false_calcium_within_its_margin_is_allowed() -> None:
    assert decide(with_zeros(false=0), with_zeros(false=1), POLICY, champion_id=4).promote


def test_an_artery_lost_to_another_is_kept_back() -> None:
    swapped = [case(f"image-{n}", predicted=(0.0, 0.0, 50.0, 0.0)) for n in range(8)]
    decision = decide(alike(8), results(*swapped), POLICY, champion_id=1)
    failed = [guard.name for guard in decision.guards if not guard.holds]
    assert failed == [
        "error of log(1 + Agatston) in the LAD",
        "error of log(1 + Agatston) in the LCX",
    ]
    assert not decision.promote


def test_wrong_categories_are_kept_back() -> None:
    kinds = [(0.0, 5.0, 0.0, 0.0), (0.0, 50.0, 0.0, 0.0)] * 4
    champion = [case(f"image-{n}", wanted=kind) for n, kind in enumerate(kinds)]
    challenger = [
        case(f"image-{n}", wanted=kind, predicted=(0.0, 12.0, 0.0, 0.0) if kind[1] == 5 else kind)
        for n, kind in enumerate(kinds)
    ]
    decision = decide(results(*champion), results(*challenger), POLICY, champion_id=1)
    kappa = next(guard for guard in decision.guards if guard.name == measures.KAPPA)
    assert (kappa.champion, kappa.challenger, kappa.holds) == (1.0, 0.0, False)
    assert not decision.promote


def test_unsure_samples_are_kept_back() -> None:
    sure = [case(f"image-{n}", samples=(50.0,) * 4) for n in range(8)]
    unsure = [case(f"image-{n}", samples=(0.0, 0.0, 50.0, 500.0)) for n in range(8)]
    decision = decide(results(*sure), results(*unsure), POLICY, champion_id=1)
    assert [g.name for g in decision.guards if not g.holds] == [measures.CALIBRATION]
    assert not decision.promote


class TestTooFewPatients:
    def test_a_version_that_is_as_good_is_promoted_unproven(self) -> None:
        decision = decide(alike(3), alike(3), POLICY, champion_id=2)
        assert decision.promote
        assert decision.lower_bound is None
        assert decision.reason == (
            "promoted unproven: 3 validation patients, a comparison needs 8; on them calcium"
            " volume F1 1.00 against 1.00 of version 2"
        )

    def test_a_version_that_is_clearly_worse_is_kept_back(self) -> None:
        decision = decide(alike(1), alike(1, WORSE), POLICY, champion_id=2)
        assert not decision.promote
        assert decision.reason == (
            "kept back: 1 validation patient, a comparison needs 8; on it calcium"
            " volume F1 0.67 against 1.00 of version 2"
        )

    def test_false_calcium_in_a_scan_without_any_is_kept_back(self) -> None:
        decision = decide(few(sees=0.0), few(sees=2.0), POLICY, champion_id=2)
        assert not decision.promote
        assert decision.reason == (
            "kept back: 3 validation patients, a comparison needs 8; on them share of scans without"
            " calcium in which some is seen 1.00 against 0.00, 0.10 worse is allowed; calcium"
            " volume F1 1.00 against 1.00 of version 2"
        )
        assert decide(few(sees=2.0), few(sees=2.0), POLICY, champion_id=2).promote

    def test_a_version_that_finds_what_nobody_found_may_invent_some(self) -> None:
        blind = few(sees=0.0, volumes=(0.0, 0.0, 10.0))
        assert decide(blind, few(sees=2.0), POLICY, champion_id=2).promote

    def test_images_that_cannot_be_read_make_nothing_easier(self) -> None:
        decision = decide(alike(7), alike(7), POLICY, champion_id=2, left_out=1)
        assert not decision.promote
        assert decision.reason == (
            "kept back: 1 validation image could not be read, which leaves 7 validation patients,"
            " a comparison needs 8"
        )
        assert decide(alike(8), alike(8), POLICY, champion_id=2, left_out=1).promote
        assert decide(None, alike(0), POLICY, champion_id=None, left_out=1).promote

    def test_without_any_the_reason_says_so(self) -> None:
        decision = decide(alike(0), alike(0), POLICY, champion_id=2)
        assert decision.promote
        assert decision.reason == ("promoted unproven: 0 validation patients, a comparison needs 8")

    def test_a_deployment_may_keep_all_of_them_back(self) -> None:
        strict = GatePolicy(patients=8, unproven="keep")
        for count in (0, 7):
            assert not decide(alike(count), alike(count), strict, champion_id=2).promote
        assert decide(alike(8), alike(8), strict, champion_id=2).promote

    def test_images_of_one_patient_count_once(self) -> None:
        cases = [case(f"image-{n}", patient="one") for n in range(9)]
        decision = decide(results(*cases), results(*cases), POLICY, champion_id=2)
        assert decision.reason.startswith("promoted unproven: 1 validation patient,")


def test_without_validation_nothing_is_compared() -> None:
    decision = decide(alike(0), alike(0), GatePolicy(is_on=False, unproven="keep"), champion_id=2)
    assert decision.promote
    assert "no patients are kept for validation" in decision.reason


def test_the_same_input_gives_the_same_decision() -> None:
    rng = np.random.default_rng(3)
    volumes = rng.gamma(2.0, 20.0, (10, 2, 3)).tolist()
    champion, challenger = (
        results(*(case(f"image-{n}", volumes=tuple(both[side])) for n, both in enumerate(volumes)))
        for side in (0, 1)
    )
    first, second = (decide(champion, challenger, POLICY, champion_id=1) for _ in range(2))
    assert first == second
    other = decide(champion, challenger, GatePolicy(patients=8, seed=2), champion_id=1)
    assert other.lower_bound != first.lower_bound


def test_results_of_other_images_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="the same images"):
        decide(alike(8), alike(9), POLICY, champion_id=1)
