import pytest
from sqlalchemy.orm import Session

from app.imaging.volume_hash import content_hash
from app.intake.image_rows import header_facts
from app.intake.pool import current_labels
from app.store.tables import ImageRow, ModelVersionRow, PatientSideRow
from app.training.validation_patients import (
    assign_side,
    assign_sides,
    is_validation_hash,
    validation_patients,
)
from tests.app.conftest import Deployment
from tests.app.pool import add_image
from tests.app.training.labeled import add_labeled, add_lease, patient
from tests.factories import make_volume


def assign(session: Session, number: int, *, percent: int = 100, scan: str = "") -> bool:
    image = session.get_one(ImageRow, f"image-{number}{scan}")
    return assign_side(session, image, percent=percent, now=2.0)


def test_about_the_wanted_share_of_patients_validates() -> None:
    count = sum(is_validation_hash(patient(number), percent=20) for number in range(1000))
    # Binomial with mean 200 and standard deviation 12.6.
    assert 150 < count < 250


def test_share_of_validation_patients_only_grows_with_the_percentage() -> None:
    for number in range(200):
        if is_validation_hash(patient(number), percent=10):
            assert is_validation_hash(patient(number), percent=30)


@pytest.mark.parametrize(("percent", "expected"), [(0, False), (100, True)])
def test_no_patient_or_every_patient(percent: int, *, expected: bool) -> None:
    assert is_validation_hash(patient(7), percent=percent) is expected


def test_a_patient_never_changes_sides(deployment: Deployment) -> None:
    with deployment.database.writing() as session:
        for number in range(2):
            add_image(session, f"image-{number}", patient=patient(number))
        assert assign(session, 0, percent=100)
        assert not assign(session, 1, percent=0)
        # Neither another percentage nor another kind of sample moves them.
        add_lease(session, "image-0")
        assert assign(session, 0, percent=0)
        assert not assign(session, 1, percent=100)
        assert validation_patients(session) == {patient(0)}


def test_later_images_follow_their_patient(deployment: Deployment) -> None:
    with deployment.database.writing() as session:
        for scan in "ab":
            add_image(session, f"image-0{scan}", patient=patient(0))
        add_lease(session, "image-0a")
        assert not assign(session, 0, scan="a")
        add_lease(session, "image-0b", is_random=True)
        assert not assign(session, 0, scan="b")


@pytest.mark.parametrize(
    ("strategy", "is_random", "expected"),
    [
        ("uncertainty", False, False),
        ("uncertainty", True, True),
        ("batch", False, False),
        ("random", False, True),
        ("stratified", False, True),
        ("first", False, True),
    ],
)
def test_only_fair_draws_validate(
    deployment: Deployment, strategy: str, *, is_random: bool, expected: bool
) -> None:
    with deployment.database.writing() as session:
        add_image(session, "image-0", patient=patient(0))
        add_lease(session, "image-0", strategy=strategy, is_random=is_random)
        assert assign(session, 0) is expected


def test_an_image_nobody_served_validates(deployment: Deployment) -> None:
    with deployment.database.writing() as session:
        add_image(session, "image-0", patient=patient(0))
        assert assign(session, 0)


def test_the_last_lease_before_the_label_counts(deployment: Deployment) -> None:
    with deployment.database.writing() as session:
        add_image(session, "image-0", patient=patient(0))
        add_lease(session, "image-0")
        add_lease(session, "image-0", is_random=True)
        assert assign(session, 0)


def test_old_labels_get_their_side_but_no_trained_patient_validates(
    deployment: Deployment,
) -> None:
    with deployment.database.writing() as session:
        trained, _ = add_labeled(session, 0), add_labeled(session, 1)
        session.add(
            ModelVersionRow(
                job_id="j",
                sha256="",
                card={"training_labels": [trained]},
                label_count=1,
                created_at=0.0,
            )
        )
        session.flush()
        assign_sides(session, current_labels(session), percent=100)
        sides = {
            row.patient_key: row.is_validation
            for row in session.query(PatientSideRow)  # every row
        }
    assert sides == {patient(0): False, patient(1): True}


def test_a_patient_that_turns_out_to_have_been_trained_on_never_validates(
    deployment: Deployment,
) -> None:
    with deployment.database.writing() as session:
        trained = add_labeled(session, 0)
        assign(session, 0, percent=0)
        session.add(
            ModelVersionRow(
                job_id="j",
                sha256="",
                card={"training_labels": [trained]},
                label_count=1,
                created_at=0.0,
            )
        )
        # Its PatientID was corrected; a second image of that patient is labeled now.
        session.get_one(ImageRow, "image-0").patient_key = patient(1)
        add_labeled(session, 1, scan="b")
        add_labeled(session, 2)
        assert not assign(session, 1, scan="b")
        assert assign(session, 2)


def test_images_without_a_patient_id_get_a_side_each(deployment: Deployment) -> None:
    anonymous = [make_volume(seed=seed, patient_id="") for seed in range(40)]
    assert {volume.identifiers.patient_id for volume in anonymous} == {""}
    facts = [header_facts(volume, content_hash(volume)) for volume in anonymous]
    with deployment.database.writing() as session:
        for number, fact in enumerate(facts):
            add_image(session, f"image-{number}", patient=str(fact["patient_key"]))
        sides = [assign(session, number, percent=50) for number in range(40)]
    # Binomial with mean 20 and standard deviation 3.2; a shared id would give 0 or 40.
    assert 8 <= sum(sides) <= 32
