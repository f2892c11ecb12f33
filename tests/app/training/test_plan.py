import itertools
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from app import model_versions
from app.errors import InvalidInputError, NotReadyError
from app.settings import Settings
from app.store.tables import ImageRow, LabelRow, ModelVersionRow
from app.training.plan import TrainingPlan, make_plan, read_plan, write_plan
from tests.app.conftest import Deployment
from tests.app.pool import SETTINGS, add_image
from tests.app.training.labeled import add_label, add_labeled, patient


def plan(session: Session, *, start: str = "", **settings: object) -> TrainingPlan:
    wanted = {"first_training": 1, "validation_percent": 0, **settings}
    options = {"start": start} if start else {}
    return make_plan(session, Settings.model_validate(wanted), options)


def add_version(
    session: Session, job_id: str, *, labels: list[int], start: str, parent: int | None = None
) -> ModelVersionRow:
    row = ModelVersionRow(
        job_id=job_id,
        parent_id=parent,
        sha256="",
        card={"training_labels": labels, "start": start},
        label_count=len(labels),
        is_active=False,
        created_at=0.0,
    )
    session.add(row)
    session.flush()
    return model_versions.activate(session, SETTINGS, row.id, actor="test", now=0.0, reason="")


def test_patients_never_change_sides_when_labels_are_added(deployment: Deployment) -> None:
    with deployment.database.writing() as session:
        chosen = []
        for number in range(40):
            add_labeled(session, number)
            if number >= 19:
                chosen.append(plan(session, validation_percent=20))
    for before, after in itertools.pairwise(chosen):
        assert set(before.validation) <= set(after.validation)
        assert set(before.training) <= set(after.training)
        assert not set(after.validation) & set(after.training)
    assert chosen[-1].validation


def test_validation_stays_when_the_percentage_changes(deployment: Deployment) -> None:
    with deployment.database.writing() as session:
        for number in range(20):
            add_labeled(session, number)
        first = plan(session, validation_percent=50)
        assert plan(session, validation_percent=10) == first


def test_images_of_one_patient_stay_together(deployment: Deployment) -> None:
    with deployment.database.writing() as session:
        for number in range(12):
            for scan in "ab":
                add_labeled(session, number, scan=scan)
        chosen = plan(session, validation_percent=50)
    # Ids are given in order: 2 k + 1 and 2 k + 2 are the scans of patient k.
    assert {(row - 1) // 2 for row in chosen.training}.isdisjoint(
        (row - 1) // 2 for row in chosen.validation
    )


def test_a_validation_patient_that_turns_out_to_have_been_trained_on_judges_no_more(
    deployment: Deployment,
) -> None:
    with deployment.database.writing() as session:
        for image_id, patient_key in (("held", "0" * 64), ("a", "f" * 64), ("b", "e" * 64)):
            add_image(session, image_id, patient=patient_key)
        held, trained, other = (add_label(session, image_id) for image_id in ("held", "a", "b"))
        first = plan(session, validation_percent=1)
        assert (first.validation, first.training) == ((held,), (trained, other))
        add_version(session, "job-1", labels=list(first.training), start="fresh")
        session.get_one(ImageRow, "a").patient_key = "0" * 64
        session.flush()
        chosen = plan(session, validation_percent=1)
    assert (chosen.validation, chosen.training) == ((), (other,))


def test_only_the_newest_final_label_teaches(deployment: Deployment) -> None:
    with deployment.database.writing() as session:
        add_image(session, "a", patient=patient(0))
        add_label(session, "a")
        newest = add_label(session, "a", version=2)
        add_label(session, "a", version=3, tag="version_1")
        deleted = session.get_one(LabelRow, add_label(session, "a", version=3))
        deleted.deleted_at = 9.0
        chosen = plan(session)
    assert chosen.training == (newest,)


def test_too_few_labels_are_refused(deployment: Deployment) -> None:
    with deployment.database.writing() as session:
        add_labeled(session, 0)
        with pytest.raises(NotReadyError, match="at least 2 labeled images, there are 1"):
            plan(session, first_training=2)


def test_training_without_a_patient_outside_validation_is_refused(deployment: Deployment) -> None:
    with deployment.database.writing() as session:
        # The lowest of all hashes.
        add_image(session, "a", patient="0" * 64)
        add_label(session, "a")
        with pytest.raises(NotReadyError, match="validation set"):
            plan(session, validation_percent=1)


class TestStart:
    def test_the_first_version_begins_fresh(self, deployment: Deployment) -> None:
        with deployment.database.writing() as session:
            add_labeled(session, 0)
            chosen = plan(session, start="warm")
        assert (chosen.start, chosen.before) == ("fresh", None)

    @pytest.mark.parametrize(
        ("labels", "wanted", "expected"),
        [
            (9, "", "shrink_perturb"),
            (10, "", "fresh"),  # 8 labels grew by a quarter.
            (10, "shrink_perturb", "fresh"),
            (9, "fresh", "fresh"),
            (10, "warm", "warm"),
        ],
    )
    def test_enough_new_labels_begin_fresh(
        self, deployment: Deployment, labels: int, wanted: str, expected: str
    ) -> None:
        with deployment.database.writing() as session:
            ids = [add_labeled(session, number) for number in range(labels)]
            version = add_version(session, "job-1", labels=ids[:8], start="fresh")
            chosen = plan(session, start=wanted)
        assert chosen.start == expected
        assert chosen.before == version.id
        assert chosen.new == tuple(ids[8:])

    def test_growth_counts_since_the_last_fresh_version(self, deployment: Deployment) -> None:
        with deployment.database.writing() as session:
            ids = [add_labeled(session, number) for number in range(10)]
            first = add_version(session, "job-1", labels=ids[:8], start="fresh")
            # A version that was kept back is on nobody's way.
            add_version(session, "job-2", labels=ids[:9], start="shrink_perturb", parent=first.id)
            chosen = plan(session)
        assert chosen.why == f"labels grew by 25% since the fresh version {first.id}"

    def test_the_setting_decides_where_nothing_is_asked_for(self, deployment: Deployment) -> None:
        with deployment.database.writing() as session:
            ids = [add_labeled(session, 0)]
            add_version(session, "job-1", labels=ids, start="fresh")
            assert plan(session, train_start="warm").start == "warm"

    def test_an_unknown_start_is_refused(self, deployment: Deployment) -> None:
        with deployment.database.writing() as session:
            add_labeled(session, 0)
            with pytest.raises(InvalidInputError, match="start: expected one of shrink_perturb"):
                plan(session, start="hot")


def test_snapshot_tells_one_set_of_labels_from_another(deployment: Deployment) -> None:
    with deployment.database.writing() as session:
        add_labeled(session, 0)
        first = plan(session)
        assert plan(session).snapshot == first.snapshot
        add_labeled(session, 1)
        second = plan(session)
        session.query(LabelRow).first().sha256 = "other"  # type: ignore[union-attr]  # there is one
        session.flush()
        third = plan(session)
    assert len({first.snapshot, second.snapshot, third.snapshot}) == 3


def test_a_plan_is_read_as_it_was_written(deployment: Deployment, tmp_path: Path) -> None:
    assert read_plan(tmp_path) is None
    with deployment.database.writing() as session:
        for number in range(9):
            add_labeled(session, number)
        chosen = plan(session, validation_percent=50)
    write_plan(tmp_path, chosen)
    assert read_plan(tmp_path) == chosen
