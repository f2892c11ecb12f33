"""Champion against challenger: may the new model version answer from now on?

Both are measured on the same validation patients and the same labels. The challenger may be
somewhat worse by chance, but not by more than a margin with a stated confidence, and no
guarding figure may become worse by more than its own margin.
"""

from dataclasses import asdict, dataclass
from typing import Final, Literal

import numpy as np

from app.promotion import measures
from app.promotion.bootstrap import paired_lower_bound
from app.promotion.results import Results
from app.store.tables import Json

Unproven = Literal["promote", "keep"]
"""What is done with a version while there are too few patients to compare it."""

CLEAR_FALL: Final = 0.1
"""A fall of the primary figure that too few patients are enough to refuse for.

As large a rise makes up for false calcium there: a first version that sees nothing at all invents
nothing either, and would be followed by none.
"""


@dataclass(frozen=True)
class GatePolicy:
    """When a challenger is promoted.

    Attributes:
        patients: Validation patients a comparison needs.
        margin: How much worse the challenger's primary figure may be.
        confidence: One-sided confidence with which it must not be worse than that.
        unproven: What is done while there are fewer patients.
        seed: Seed of the resamples.
        is_on: Whether patients are kept for validation at all.
    """

    patients: int = 8
    margin: float = 0.05
    confidence: float = 0.95
    unproven: Unproven = "promote"
    seed: int = 0
    is_on: bool = True


@dataclass(frozen=True)
class Comparison:
    """One figure of both versions.

    Attributes:
        name: What was measured.
        champion: Figure of the version that answers.
        challenger: Figure of the new version.
        margin: How much worse it may be.
        holds: Whether it is not worse than that.
    """

    name: str
    champion: float
    challenger: float
    margin: float
    holds: bool


@dataclass(frozen=True)
class Decision:
    """What the gate says.

    Attributes:
        promote: Whether the challenger answers from now on.
        reason: Why, in one sentence for people.
        patients: Validation patients that both versions were measured on.
        champion_id: The version that answered; None when there was none.
        primary: The primary figure of both; None when it was not compared.
        lower_bound: What the difference of the primary figures is not below; None when not
            computed.
        guards: The guarding figures of both.
    """

    promote: bool
    reason: str
    patients: int
    champion_id: int | None
    primary: Comparison | None = None
    lower_bound: float | None = None
    guards: tuple[Comparison, ...] = ()

    def to_json(self) -> Json:
        """Return the decision as JSON can hold it."""
        return asdict(self)


def decide(
    champion: Results | None,
    challenger: Results,
    policy: GatePolicy,
    *,
    champion_id: int | None,
    left_out: int = 0,
    problem: str = "",
) -> Decision:
    """Decide between the version that answers and a new one; the same input, the same answer.

    Args:
        champion: Results of the version that answers; None when there is none.
        challenger: Results of the new version on the same images.
        policy: When it is promoted.
        champion_id: Id of the version that answers, for the reason.
        left_out: Validation images that could not be measured. Nothing is promoted unproven
            because of them: they could be read when the labels came.
        problem: Why the version that answers could not be measured at all; empty if it was.

    Raises:
        ValueError: If the two were measured on different images.
    """
    count = len(challenger.patients)
    if champion_id is not None and problem:
        reason = (
            f"kept back: version {champion_id}, which answers, could not be judged: {problem};"
            " a person may promote this one"
        )
        return Decision(False, reason, count, champion_id)
    if champion is None or champion_id is None:
        return Decision(True, "promoted: the first version, there is no other", count, None)
    if champion.image_ids != challenger.image_ids:
        raise ValueError("expected results of both versions on the same images")
    if not policy.is_on:
        reason = "promoted without a comparison: no patients are kept for validation"
        return Decision(True, reason, count, champion_id)
    if count < policy.patients:
        if left_out:
            return _decide_unread(count, left_out, policy, champion_id)
        return _decide_unproven(champion, challenger, policy, champion_id)
    return _decide_proven(champion, challenger, policy, champion_id)


def _decide_unread(count: int, left_out: int, policy: GatePolicy, champion_id: int) -> Decision:
    """Keep back what could be compared, had the images been there."""
    missing = f"{_patients(count)}, a comparison needs {policy.patients}"
    images = f"{left_out} validation image{'s' * (left_out != 1)} could not be read"
    return Decision(False, f"kept back: {images}, which leaves {missing}", count, champion_id)


def _decide_unproven(
    champion: Results, challenger: Results, policy: GatePolicy, champion_id: int
) -> Decision:
    """Decide on too few patients: refuse what is clearly worse, else as the policy says."""
    count = len(challenger.patients)
    missing = f"{_patients(count)}, a comparison needs {policy.patients}"
    if count == 0:
        promote = policy.unproven == "promote"
        reason = f"{'promoted unproven' if promote else 'kept back'}: {missing}"
        return Decision(promote, reason, count, champion_id)
    primary = _primary(champion, challenger, CLEAR_FALL)
    is_better = primary.challenger - primary.champion > CLEAR_FALL
    guards = tuple(
        guard for guard in _guards(champion, challenger) if guard.name == measures.FALSE_CALCIUM
    )
    failed = [guard for guard in guards if not guard.holds and not is_better]
    promote = primary.holds and not failed and policy.unproven == "promote"
    found = "; ".join([*(_worse(guard) for guard in failed), _versus(primary, champion_id)])
    reason = f"{'promoted unproven' if promote else 'kept back'}: {missing}; " + (
        f"on {'it' if count == 1 else 'them'} {found}"
    )
    return Decision(promote, reason, count, champion_id, primary, guards=guards)


def _decide_proven(
    champion: Results, challenger: Results, policy: GatePolicy, champion_id: int
) -> Decision:
    bound = paired_lower_bound(
        champion.patient_volumes,
        challenger.patient_volumes,
        confidence=policy.confidence,
        rng=np.random.default_rng(policy.seed),
    )
    primary = _primary(champion, challenger, policy.margin)
    guards = _guards(champion, challenger)
    failed = [guard for guard in guards if not guard.holds]
    is_proven = bound > -policy.margin
    return Decision(
        promote=is_proven and not failed,
        reason=_reason(primary, bound, failed, policy, champion_id, len(challenger.patients)),
        patients=len(challenger.patients),
        champion_id=champion_id,
        primary=Comparison(
            primary.name, primary.champion, primary.challenger, policy.margin, is_proven
        ),
        lower_bound=bound,
        guards=guards,
    )


def _reason(
    primary: Comparison,
    bound: float,
    failed: list[Comparison],
    policy: GatePolicy,
    champion_id: int,
    patients: int,
) -> str:
    compared = f"{_versus(primary, champion_id)} on {_patients(patients)}"
    sure = f"with {policy.confidence:.0%} confidence"
    if bound <= -policy.margin:
        return (
            f"kept back: {compared}; {sure} only a fall of more than {max(-bound, 0):.2f} is"
            f" excluded, {policy.margin:.2f} is asked for"
        )
    if failed:
        worst = "; ".join(_worse(guard) for guard in failed)
        return f"kept back: {worst}; {compared}"
    gained = f"at least {bound:.2f} better" if bound > 0 else f"at most {abs(bound):.2f} worse"
    return f"promoted: {compared}; {sure} {gained}"


def _primary(champion: Results, challenger: Results, margin: float) -> Comparison:
    before, after = measures.primary(champion), measures.primary(challenger)
    return Comparison(measures.PRIMARY, before, after, margin, after >= before - margin)


def _guards(champion: Results, challenger: Results) -> tuple[Comparison, ...]:
    """Compare the guarding figures that both versions have."""
    before, after = measures.guards(champion), measures.guards(challenger)
    return tuple(
        Comparison(
            name,
            before[name],
            after[name],
            margin,
            measures.worsening(name, before[name], after[name]) <= margin,
        )
        for name, margin in measures.MARGINS.items()
        if name in before and name in after
    )


def _versus(primary: Comparison, champion_id: int) -> str:
    return (
        f"{primary.name} {primary.challenger:.2f} against {primary.champion:.2f} of version"
        f" {champion_id}"
    )


def _worse(guard: Comparison) -> str:
    return (
        f"{guard.name} {guard.challenger:.2f} against {guard.champion:.2f},"
        f" {guard.margin:.2f} worse is allowed"
    )


def _patients(count: int) -> str:
    return f"{count} validation patient{'s' * (count != 1)}"
