"""Score intervals against the labels that came after the version that gave them."""

from typing import Final

import pytest
from scipy.stats import binomtest
from sqlalchemy.orm import Session

from app.store.tables import LeaseRow, ModelVersionRow
from app.training.coverage import later_coverage, share_held
from tests.app.conftest import Deployment
from tests.app.pool import KEY, add_image, add_model_version, add_prediction, label_row

_MADE_AT: Final = 100.0


def add_version(session: Session, quantile: float | None = 1.0) -> ModelVersionRow:
    """Add a version whose intervals reach 0.1 to both sides of log(1 + score)."""
    version = add_model_version(session)
    version.created_at = _MADE_AT
    version.calibration = {"level": 0.9, "patients": 12, "quantile": quantile, "key": KEY}
    return version


def add_labeled(
    session: Session,
    version: ModelVersionRow,
    image_id: str,
    *,
    wanted: float,
    at: float = 200.0,
    patient: str = "",
    key: str = KEY,
) -> None:
    """Add an image with a predicted score of 100 and a label of another one."""
    add_image(session, image_id, patient=patient)
    row = add_prediction(session, image_id, version.id, uncertainty=1.0, key=key)
    row.scores = {"total": {"agatston": 100.0}}
    label = label_row(image_id, at=at)
    label.scores = {"total": {"agatston": wanted}}
    session.add(label)
    session.flush()


def test_counts_the_labels_within_their_interval(deployment: Deployment) -> None:
    with deployment.database.writing() as session:
        version = add_version(session)
        # 101 * e^0.1 - 1 = 110.6 and 101 * e^-0.1 - 1 = 90.4.
        for image_id, wanted in (("a", 110.0), ("b", 91.0), ("c", 111.0), ("d", 90.0)):
            add_labeled(session, version, image_id, wanted=wanted)
        found = later_coverage(session, version)
    assert found.level == 0.9
    assert (found.labeled.held, found.labeled.patients, found.labeled.share) == (2, 4, 0.5)


def test_a_patient_counts_once_with_the_first_label(deployment: Deployment) -> None:
    with deployment.database.writing() as session:
        version = add_version(session)
        add_labeled(session, version, "second", wanted=500.0, at=300.0, patient="p")
        add_labeled(session, version, "first", wanted=100.0, at=200.0, patient="p")
        found = later_coverage(session, version)
    assert (found.labeled.held, found.labeled.patients) == (1, 1)


def test_patients_labeled_before_and_other_settings_count_not(
    deployment: Deployment,
) -> None:
    with deployment.database.writing() as session:
        version = add_version(session)
        add_labeled(session, version, "old", wanted=100.0, at=_MADE_AT, patient="p")
        add_labeled(session, version, "new", wanted=100.0, patient="p")
        add_labeled(session, version, "other", wanted=100.0, key="other settings")
        found = later_coverage(session, version)
    assert found.labeled.patients == 0
    assert found.labeled.share is None


def test_what_a_strategy_chose_for_its_doubt_does_not_stand_for_the_pool(
    deployment: Deployment,
) -> None:
    with deployment.database.writing() as session:
        version = add_version(session)
        for image_id, is_random in (("chosen", False), ("drawn", True)):
            add_labeled(session, version, image_id, wanted=100.0)
            lease = LeaseRow(
                image_id=image_id, strategy="uncertainty", client_id="c", served_at=150.0
            )
            lease.expires_at, lease.is_random = 190.0, is_random
            session.add(lease)
        session.flush()
        found = later_coverage(session, version)
    assert found.labeled.patients == 2
    assert found.unbiased.patients == 1


def test_a_version_without_intervals_promises_nothing(deployment: Deployment) -> None:
    with deployment.database.writing() as session:
        version = add_version(session, quantile=None)
        add_labeled(session, version, "a", wanted=100.0)
        found = later_coverage(session, version)
    assert found.level is None
    assert found.labeled.patients == 0


@pytest.mark.parametrize(("held", "total"), [(0, 0), (0, 5), (5, 5), (9, 10), (27, 30)])
def test_bounds_are_exact(held: int, total: int) -> None:
    found = share_held([True] * held + [False] * (total - held))
    if total == 0:
        assert (found.low, found.high) == (0.0, 1.0)
        return
    expected = binomtest(held, total).proportion_ci(0.95, method="exact")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
