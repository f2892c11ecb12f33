"""What one training does, written down before its first step.

A training that was killed goes on with the same labels and from the same weights, whatever
was labeled or promoted in the meantime.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
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
        snapshot: SHA-256 of the labels' and images' contents.
    """

    training: tuple[int, ...]
    validation: tuple[int, ...]
    new: tuple[int, ...]
    start: Start
    before: int | None
    why: str
    snapshot: str


def read_plan(folder: Path) -> TrainingPlan | None:
    """Return the plan of a training that was begun, or None."""
    path = folder / _PLAN_NAME
    if not path.exists():
        return None
    values = json.loads(path.read_text())
    return TrainingPlan(
        **values | {name: tuple(values[name]) for name in ("training", "validation", "new")}
    )


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
