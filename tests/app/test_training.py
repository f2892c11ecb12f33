import hashlib
import itertools

import pytest
from sqlalchemy.orm import Session

from app.errors import NotReadyError
from app.store.tables import LabelRow
from app.training import choose_labels, is_validation_patient
from tests.app.conftest import Deployment
from tests.app.pool import add_image


def patient(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def add_label(session: Session, image_id: str, *, version: int = 1, tag: str = "final") -> int:
    row = LabelRow(
        image_id=image_id,
        tag=tag,
        version=version,
        sha256="",
        submitted_sha256="",
        submitted_name="label.nrrd",
        covers_calcium=True,
        covers_regions=True,
        annotator="a",
        created_at=float(version),
    )
    session.add(row)
    session.flush()
    return row.id


def test_about_the_wanted_share_of_patients_validates() -> None:
    count = sum(is_validation_patient(patient(number), percent=20) for number in range(1000))
    # Binomial with mean 200 and standard deviation 12.6.
    assert 150 < count < 250


def test_share_of_validation_patients_only_grows_with_the_percentage() -> None:
    for number in range(200):
        if is_validation_patient(patient(number), percent=10):
            assert is_validation_patient(patient(number), percent=30)


@pytest.mark.parametrize(("percent", "expected"), [(0, False), (100, True)])
def test_no_patient_or_every_patient(percent: int, *, expected: bool) -> None:
    assert is_validation_patient(patient(7), percent=percent) is expected


def test_patients_never_change_sides_when_labels_are_added(deployment: Deployment) -> None:
    with deployment.database.writing() as session:
        sides: list[set[int]] = []
        for number in range(40):
            add_image(session, f"image-{number}", patient=patient(number))
            add_label(session, f"image-{number}")
            if number >= 19:
                chosen = choose_labels(session, validation_percent=20, at_least=1)
                sides.append(set(chosen.validation))
    assert all(before <= after for before, after in itertools.pairwise(sides))
    assert sides[-1]


def test_images_of_one_patient_stay_together(deployment: Deployment) -> None:
    with deployment.database.writing() as session:
        for number in range(12):
            for scan in "ab":
                add_image(session, f"image-{number}{scan}", patient=patient(number))
                add_label(session, f"image-{number}{scan}")
        chosen = choose_labels(session, validation_percent=50, at_least=1)
    # Ids are given in order: 2 k + 1 and 2 k + 2 are the scans of patient k.
    assert {(row - 1) // 2 for row in chosen.training}.isdisjoint(
        (row - 1) // 2 for row in chosen.validation
    )


def test_only_the_newest_final_label_teaches(deployment: Deployment) -> None:
    with deployment.database.writing() as session:
        add_image(session, "a")
        add_label(session, "a")
        newest = add_label(session, "a", version=2)
        add_label(session, "a", version=3, tag="version_1")
        deleted = session.get_one(LabelRow, add_label(session, "a", version=3))
        deleted.deleted_at = 9.0
        chosen = choose_labels(session, validation_percent=0, at_least=1)
    assert chosen.training == (newest,)


def test_too_few_labels_are_refused(deployment: Deployment) -> None:
    with deployment.database.writing() as session:
        add_image(session, "a")
        add_label(session, "a")
        with pytest.raises(NotReadyError, match="at least 2 labeled images, there are 1"):
            choose_labels(session, validation_percent=0, at_least=2)


def test_training_without_a_patient_outside_validation_is_refused(deployment: Deployment) -> None:
    with deployment.database.writing() as session:
        add_image(session, "a", patient=patient(0))
        add_label(session, "a")
        with pytest.raises(NotReadyError, match="validation set"):
            choose_labels(session, validation_percent=100, at_least=1)
