"""Which patients are kept for validation: decided with their first label, and never again.

A patient is for validation when the hash of the patient says so and the image was not chosen
because a strategy found it telling: patients picked for being difficult would make every
version look worse than it is. All later images of a patient follow the patient.

Concurrency: of two submissions of one patient at the same moment, the first one decides.
"""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.intake.pool import FINAL_TAG
from app.store.tables import ImageRow, LabelRow, LeaseRow, ModelVersionRow, PatientSideRow

_HASH_BUCKETS: Final = 100
"""A patient falls into one of so many buckets by hash; the lowest are for validation."""
_UNBIASED: Final = ("random", "stratified", "first")
"""Strategies that do not ask what a network makes of an image, all of whose draws are fair."""


def is_validation_hash(patient_key: str, *, percent: int) -> bool:
    """Tell whether the hash of a patient is among the lowest ``percent`` of all."""
    bucket = int(patient_key[:8], 16) % _HASH_BUCKETS
    return bucket < percent


def assign_side(session: Session, image: ImageRow, *, percent: int, now: float) -> bool:
    """Decide whether the patient of an image is for validation, unless that is decided already.

    A patient that a version was trained on is no use for validation. There is one without a side
    where an image was found to be of another patient after it had been trained on.

    Args:
        session: Open transaction that may write.
        image: The image whose label is the patient's first.
        percent: Share of patients for validation.
        now: Time of that label.

    Returns:
        Whether the patient is for validation.
    """
    decided = session.get(PatientSideRow, image.patient_key)
    if decided is not None:
        return decided.is_validation
    is_known = _is_trained(session, image.patient_key)
    return _decide(session, image, percent=percent, now=now, is_known=is_known)


def _decide(session: Session, image: ImageRow, *, percent: int, now: float, is_known: bool) -> bool:
    wanted = is_validation_hash(image.patient_key, percent=percent)
    row = PatientSideRow(
        patient_key=image.patient_key,
        is_validation=wanted and not is_known and is_unbiased(session, image.id, now),
        decided_at=now,
    )
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError:
        return session.get_one(PatientSideRow, image.patient_key).is_validation
    return row.is_validation


def assign_sides(
    session: Session, pairs: Sequence[tuple[LabelRow, ImageRow]], *, percent: int
) -> None:
    """Decide for the labeled patients of whom nobody decided yet, oldest label first.

    These are labels from before sides were kept. A patient that a version was trained on is
    no use for validation.
    """
    decided = set(session.scalars(select(PatientSideRow.patient_key)))
    missing = [(label, image) for label, image in pairs if image.patient_key not in decided]
    if not missing:
        return
    trained = trained_patients(session)
    for label, image in missing:
        if image.patient_key in decided:
            continue
        decided.add(image.patient_key)
        is_known = image.patient_key in trained
        _decide(session, image, percent=percent, now=label.created_at, is_known=is_known)


def validation_patients(session: Session) -> set[str]:
    """Return the keys of the patients that are for validation."""
    wanted = select(PatientSideRow.patient_key).where(PatientSideRow.is_validation)
    return set(session.scalars(wanted))


def trained_patients(session: Session) -> set[str]:
    """Return the keys of the patients that any model version was trained on."""
    labels = _trained_labels(session)
    of_patients = select(LabelRow.id, ImageRow.patient_key).join(ImageRow)
    return {patient for label, patient in session.execute(of_patients) if label in labels}


def is_unbiased(session: Session, image_id: str, now: float) -> bool:
    """Tell whether an image was labeled without, or by a random draw of, a strategy."""
    leases = select(LeaseRow).where(LeaseRow.image_id == image_id, LeaseRow.served_at <= now)
    last = session.scalars(leases.order_by(LeaseRow.id.desc()).limit(1)).first()
    return last is None or last.is_random or last.strategy in _UNBIASED


def _is_trained(session: Session, patient_key: str) -> bool:
    """Tell whether any model version was trained on an image of a patient."""
    of_patient = select(LabelRow.id).join(ImageRow).where(ImageRow.patient_key == patient_key)
    labels = set(session.scalars(of_patient.where(LabelRow.tag == FINAL_TAG)))
    # Nearly always the label alone that has just come: the cards need not be read.
    return len(labels) > 1 and not labels.isdisjoint(_trained_labels(session))


def _trained_labels(session: Session) -> set[int]:
    """Return the ids of the labels that any model version was trained on."""
    cards = session.scalars(select(ModelVersionRow.card))
    return {label for card in cards for label in card.get("training_labels", [])}
