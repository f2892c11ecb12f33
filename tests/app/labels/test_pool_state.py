from pathlib import Path
from typing import Any

from sqlalchemy import select

from app import images
from app.store.tables import ImageRow, LeaseRow, PatientSideRow
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


class TestValidation:
    def side(self, deployment: Deployment) -> bool | None:
        with deployment.database.reading() as session:
            row = session.get(PatientSideRow, session.get_one(ImageRow, "a").patient_key)
        return None if row is None else row.is_validation

    def test_the_first_final_label_decides_whether_the_patient_validates(
        self, deployment: Deployment, label_path: Path
    ) -> None:
        submit(deployment, label_path, image_id="a", tag="original")
        assert self.side(deployment) is None
        submit(deployment, label_path, image_id="a", validation_percent=0)
        assert self.side(deployment) is False

    def test_a_sample_chosen_for_its_uncertainty_does_not_validate(
        self, deployment: Deployment, label_path: Path
    ) -> None:
        facts: dict[str, Any] = {"strategy": "uncertainty", "client_id": "c", "served_at": 1.0}
        with deployment.database.writing() as session:
            session.get_one(ImageRow, "a").patient_key = "0" * 64
            session.add(LeaseRow(image_id="a", expires_at=99.0, is_random=False, **facts))
        submit(deployment, label_path, image_id="a", validation_percent=50)
        assert self.side(deployment) is False

    def test_a_random_sample_may_validate(self, deployment: Deployment, label_path: Path) -> None:
        facts: dict[str, Any] = {"strategy": "uncertainty", "client_id": "c", "served_at": 1.0}
        with deployment.database.writing() as session:
            session.get_one(ImageRow, "a").patient_key = "0" * 64
            session.add(LeaseRow(image_id="a", expires_at=99.0, is_random=True, **facts))
        submit(deployment, label_path, image_id="a", validation_percent=50)
        assert self.side(deployment) is True
