"""What one training does, written down before its first step.

A training that was killed goes on with the same labels and from the same weights, whatever
was labeled or promoted in the meantime.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, Literal

from sqlalchemy.orm import Session

from app import model_versions
from app.errors import InvalidInputError, NotReadyError
from app.intake.pool import current_labels
from app.settings import Settings
from app.store.files import write_durably
from app.store.tables import ImageRow, Json, LabelRow, ModelVersionRow
from app.training.validation_patients import assign_sides, trained_patients, validation_patients

Start = Literal["fresh", "shrink_perturb", "warm"]
"""Where the weights begin: anew, near the version that answers, or at it."""

STARTS: Final[tuple[Start, ...]] = ("shrink_perturb", "fresh", "warm")

_GROWTH: Final = 0.25
"""Labels that came since the last fresh training, as a share of its labels, for the next one."""

_PLAN_NAME: Final = "plan.json"

_TOLD: Final = 3
"""Labels left out that a line names; the version has all of them."""


@dataclass(frozen=True)
class LeftOut:
    """A label that takes no part because it, or its image, cannot be read.

    Attributes:
        label: Row id of the label.
        image: Id of its image.
        reason: What is wrong, for people.
        judges: Whether versions would have been judged by it.
    """

    label: int
    image: str
    reason: str
    judges: bool


@dataclass(frozen=True)
class TrainingPlan:
    """Labels and start of one training.

    Attributes:
        training: Labels that the network is fitted to, by row id.
        validation: Labels of the validation patients, by row id.
        new: Those of ``training`` that the version before was not fitted to.
        start: Where the weights begin.
        before: Id of the version that answers, None when there is none.
        why: Why the weights begin there, for people.
        snapshot: SHA-256 of the labels' and images' contents as they were planned.
        left_out: Labels that were planned and could not be read; in none of the lists above.
    """

    training: tuple[int, ...]
    validation: tuple[int, ...]
    new: tuple[int, ...]
    start: Start
    before: int | None
    why: str
    snapshot: str
    left_out: tuple[LeftOut, ...] = ()

    @property
    def missing_judges(self) -> int:
        """Number of labels that versions would have been judged by, had they been read."""
        return sum(one.judges for one in self.left_out)

    @property
    def told_left_out(self) -> str:
        """One line that says which labels were left out and why; empty without any."""
        if not self.left_out:
            return ""
        count = len(self.left_out)
        planned = len(self.training) + len(self.validation) + count
        shown = "; ".join(f"image {one.image}: {one.reason}" for one in self.left_out[:_TOLD])
        more = f"; and {count - _TOLD} more" if count > _TOLD else ""
        return f"left out {count} of {planned} labels: {shown}{more}"

    def without(self, unread: Sequence[LeftOut], settings: Settings) -> "TrainingPlan":
        """Return the plan for the labels that can be read.

        Raises:
            NotReadyError: If too few are left to train on.
        """
        gone = {one.label for one in unread}
        training, validation, new = (
            tuple(label for label in labels if label not in gone)
            for labels in (self.training, self.validation, self.new)
        )
        plan = replace(
            self,
            training=training,
            validation=validation,
            new=new,
            left_out=(*self.left_out, *unread),
        )
        count = len(training) + len(validation)
        if not training or count < settings.first_training:
            raise NotReadyError(
                f"training needs at least {settings.first_training} labeled images, one of them"
                f" not for validation; {count} can be read, {len(training)} of them not for"
                f" validation; {plan.told_left_out}"
            )
        return plan


def read_plan(folder: Path) -> TrainingPlan | None:
    """Return the plan of a training that was begun, or None."""
    path = folder / _PLAN_NAME
    if not path.exists():
        return None
    values = json.loads(path.read_text())
    lists = {name: tuple(values[name]) for name in ("training", "validation", "new")}
    left_out = tuple(LeftOut(**one) for one in values.get("left_out", []))
    return TrainingPlan(**values | lists | {"left_out": left_out})


def write_plan(folder: Path, plan: TrainingPlan) -> None:
    """Write a plan down; after this the training can be taken up again."""
    write_durably(folder / _PLAN_NAME, json.dumps(asdict(plan)).encode())


def make_plan(session: Session, settings: Settings, options: Json) -> TrainingPlan:
    """Choose the labels and the start of a training; every current label takes part.

    Args:
        session: Open transaction that may write: patients get their side.
        settings: Settings of the deployment.
        options: What was asked for; ``start`` may name a start.

    Raises:
        NotReadyError: If there are too few labels, or none outside the validation patients.
        InvalidInputError: If there is no such start.
    """
    pairs = current_labels(session)
    if len(pairs) < settings.first_training:
        raise NotReadyError(
            f"training needs at least {settings.first_training} labeled images,"
            f" there are {len(pairs)}"
        )
    assign_sides(session, pairs, percent=settings.validation_percent)
    held_out = validation_patients(session)
    # A patient of whom a trained image was found to be later is no use on either side.
    judging = held_out - trained_patients(session)
    training = tuple(label.id for label, image in pairs if image.patient_key not in held_out)
    if not training:
        raise NotReadyError("every labeled patient belongs to the validation set; label another")
    before = model_versions.active(session)
    start, why = _choose_start(session, _wanted_start(settings, options), before, len(training))
    known = set(before.card.get("training_labels", [])) if before else set(training)
    return TrainingPlan(
        training=training,
        validation=tuple(label.id for label, image in pairs if image.patient_key in judging),
        new=tuple(label for label in training if label not in known),
        start=start,
        before=before.id if before else None,
        why=why,
        snapshot=_snapshot_hash(pairs),
    )


def _wanted_start(settings: Settings, options: Json) -> Start:
    wanted = options.get("start") or settings.train_start
    for start in STARTS:
        if start == wanted:
            return start
    raise InvalidInputError(f"start: expected one of {', '.join(STARTS)}, got {wanted!r}")


def _choose_start(
    session: Session, wanted: Start, before: ModelVersionRow | None, labels: int
) -> tuple[Start, str]:
    if before is None:
        return "fresh", "there is no version to begin from"
    if wanted == "fresh":
        return "fresh", "as asked for"
    fresh = _last_fresh(session, before)
    grown = labels / max(len(fresh.card.get("training_labels", [])), 1) - 1
    if wanted == "shrink_perturb" and grown >= _GROWTH:
        return "fresh", f"labels grew by {grown:.0%} since the fresh version {fresh.id}"
    return wanted, f"from version {before.id}"


def _last_fresh(session: Session, version: ModelVersionRow) -> ModelVersionRow:
    """Return the version whose weights began anew, at the root of where these come from."""
    while version.card.get("start", "fresh") != "fresh" and version.parent_id is not None:
        version = model_versions.get_version(session, version.parent_id)
    return version


def _snapshot_hash(pairs: Sequence[tuple[LabelRow, ImageRow]]) -> str:
    lines = sorted(f"{label.id} {label.sha256} {image.content_sha256}\n" for label, image in pairs)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
