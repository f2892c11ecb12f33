from pathlib import Path
from typing import Any

from sqlalchemy import select

from app import images
from app.store.tables import JobRow, LeaseRow
from tests.app.conftest import Deployment
from tests.app.labels.versions import submit


class TestPoolState:
    def test_a_final_label_ends_the_lease_of_its_image(
        self, deployment: Deployment, label_path: Path
    ) -> None:
        facts: dict[str, Any] = {"strategy": "first", "client_id": "c", "served_at": 1.0}
        with deployment.database.writing() as session:
            for image_id in ("a", "b"):
                session.add(LeaseRow(image_id=image_id, expires_at=99.0, **facts))
        submit(deployment, label_path, image_id="a")
        submit(deployment, label_path, image_id="b", tag="version_1")
        with deployment.database.reading() as session:
            leases = {row.image_id: row for row in session.scalars(select(LeaseRow))}
        assert (leases["a"].released_at, leases["a"].outcome) == (10.0, "submitted")
        assert leases["b"].released_at is None

    def test_only_final_labels_make_an_image_labeled(
        self, deployment: Deployment, label_path: Path
    ) -> None:
        submit(deployment, label_path, image_id="a")
        submit(deployment, label_path, image_id="b", tag="original")
        with deployment.database.reading() as session:
            assert images.image_ids(session, "labeled") == ["a"]


class TestTraining:
    def trainings(self, deployment: Deployment) -> list[JobRow]:
        with deployment.database.reading() as session:
            return list(session.scalars(select(JobRow).order_by(JobRow.created_at)))

    def end_all(self, deployment: Deployment) -> None:
        with deployment.database.writing() as session:
            for job in session.scalars(select(JobRow)):
                job.status = "done"

    def test_is_asked_for_after_enough_new_labels(
        self, deployment: Deployment, label_path: Path
    ) -> None:
        counts = []
        for now, image_id in enumerate("abc", start=1):
            submit(deployment, label_path, image_id=image_id, now=now, train_every=2)
            counts.append(len(self.trainings(deployment)))
            # An open training would hold the next one back in any case.
            self.end_all(deployment)
        assert counts == [0, 1, 1]
        assert self.trainings(deployment)[0].request == {"model": "calcium", "options": {}}

    def test_is_asked_for_again_after_as_many_more(
        self, deployment: Deployment, label_path: Path
    ) -> None:
        submit(deployment, label_path, image_id="a", now=1.0, train_every=1, first_training=1)
        with deployment.database.writing() as session:
            session.scalars(select(JobRow)).one().status = "running"
        submit(deployment, label_path, image_id="b", now=2.0, train_every=1, first_training=1)
        assert [job.created_at for job in self.trainings(deployment)] == [1.0, 2.0]
        # One that waits will see this label, too.
        submit(deployment, label_path, image_id="c", now=3.0, train_every=1, first_training=1)
        assert len(self.trainings(deployment)) == 2

    def test_counts_images_not_versions(self, deployment: Deployment, label_path: Path) -> None:
        for now in (1.0, 2.0, 3.0):
            submit(deployment, label_path, now=now, train_every=2)
        assert self.trainings(deployment) == []

    def test_waits_for_the_first_labels_and_for_the_setting(
        self, deployment: Deployment, label_path: Path
    ) -> None:
        submit(deployment, label_path, image_id="a", train_every=1, first_training=3)
        submit(deployment, label_path, image_id="b", train_every=0, first_training=1)
        submit(deployment, label_path, image_id="c", tag="version_1", train_every=1)
        assert self.trainings(deployment) == []
