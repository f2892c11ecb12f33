"""Annotation times: from serving to submitting, without pauses and whatever clocks do."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from app.sampling import leases
from app.settings import Settings
from app.store.tables import LeaseRow
from tests.app.conftest import Deployment
from tests.app.pool import add_image

IDLE_S = 600.0
"""Longest pause that counts, by default: 10 minutes."""

SERVED_AT = 1000.0


@pytest.fixture
def served(deployment: Deployment) -> Deployment:
    """A pool whose only image lies with anna."""
    with deployment.database.writing() as session:
        add_image(session, "a")
        facts = {"strategy": "first", "client_id": "anna", "expires_at": SERVED_AT + 3600.0}
        session.add(LeaseRow(image_id="a", served_at=SERVED_AT, **facts))
    return deployment


def note(deployment: Deployment, times: Sequence[float], client: str | None = "anna") -> bool:
    noted = [False]
    for now in times:
        with deployment.database.writing() as session:
            noted.append(leases.note_activity(session, "a", client, deployment.settings, now=now))
    return noted[-1]


def submit(deployment: Deployment, now: float, annotator: str = "anna") -> float | None:
    with deployment.database.writing() as session:
        return leases.end_by_label(session, "a", annotator, deployment.settings, now=now)


def lease(deployment: Deployment) -> LeaseRow:
    with deployment.database.reading() as session:
        return session.scalars(select(LeaseRow)).one()


def test_the_time_from_serving_to_submitting_is_the_annotation_time(served: Deployment) -> None:
    assert submit(served, SERVED_AT + 90.0) == 90.0
    assert lease(served).outcome == "submitted"


def test_requests_in_between_change_nothing_as_long_as_pauses_are_short(
    served: Deployment,
) -> None:
    note(served, [SERVED_AT + 10.0, SERVED_AT + 400.0, SERVED_AT + 900.0])
    assert submit(served, SERVED_AT + 1400.0) == 1400.0


@pytest.mark.parametrize(("pause", "seconds"), [(IDLE_S, 630.0), (IDLE_S + 0.1, 30.0)])
def test_a_pause_beyond_the_cut_off_is_left_out(
    served: Deployment, pause: float, seconds: float
) -> None:
    note(served, [SERVED_AT + 20.0, SERVED_AT + 20.0 + pause])
    assert submit(served, SERVED_AT + 30.0 + pause) == pytest.approx(seconds)


def test_nothing_but_a_pause_is_no_annotation_time(served: Deployment) -> None:
    assert submit(served, SERVED_AT + IDLE_S + 1.0) is None


def test_a_clock_that_is_set_back_takes_no_time_away(served: Deployment) -> None:
    note(served, [SERVED_AT + 50.0, SERVED_AT - 5000.0, SERVED_AT - 4990.0])
    # 50 s, then nothing for the jump, then 10 s and 20 s.
    assert submit(served, SERVED_AT - 4970.0) == 80.0


times = st.lists(st.floats(-1e6, 1e9), max_size=8)


@given(times, st.floats(-1e6, 1e9))
def test_whatever_the_clock_does_times_are_plausible(noted: list[float], end: float) -> None:
    row = LeaseRow(served_at=SERVED_AT, seen_at=None, active_seconds=0.0)
    settings = Settings()
    for now in [*noted, end]:
        row.active_seconds = leases.worked_seconds(row, settings, now)
        row.seen_at = now
    assert 0 <= row.active_seconds <= (len(noted) + 1) * IDLE_S


def test_who_labels_what_lies_with_another_has_no_annotation_time(served: Deployment) -> None:
    assert submit(served, SERVED_AT + 90.0, annotator="bert") is None
    assert (lease(served).outcome, lease(served).active_seconds) == ("submitted", 0.0)


def test_requests_of_another_client_are_not_this_ones_work(served: Deployment) -> None:
    assert not note(served, [SERVED_AT + 500.0], client="bert")
    assert lease(served).seen_at is None


def test_a_request_without_a_name_is_taken_for_the_one_who_has_the_image(
    served: Deployment,
) -> None:
    assert note(served, [SERVED_AT + 500.0], client=None)
    assert submit(served, SERVED_AT + 1000.0) == 1000.0


def test_work_keeps_the_image_for_the_client(served: Deployment) -> None:
    note(served, [SERVED_AT + 3000.0])
    assert lease(served).expires_at == SERVED_AT + 3000.0 + 3600.0


def test_a_lease_that_expired_while_its_client_was_working_counts(served: Deployment) -> None:
    note(served, [SERVED_AT + 100.0])
    with served.database.writing() as session:
        leases.release_expired(session, now=SERVED_AT + 9000.0)
    assert submit(served, SERVED_AT + 9000.0) == 100.0
    assert lease(served).outcome == "submitted"


def test_a_lease_that_was_given_back_does_not(served: Deployment) -> None:
    with served.database.writing() as session:
        row = session.scalars(select(LeaseRow)).one()
        row.released_at, row.outcome = SERVED_AT + 5.0, "skipped"
    assert submit(served, SERVED_AT + 90.0) is None
    assert lease(served).outcome == "skipped"


def test_an_image_that_nobody_was_served_takes_no_known_time(deployment: Deployment) -> None:
    with deployment.database.writing() as session:
        add_image(session, "a")
    assert submit(deployment, 5.0) is None


@pytest.mark.parametrize(("after_s", "is_worth"), [(1.0, False), (5.0, True), (-9.0, True)])
def test_a_client_that_asks_all_the_time_is_noted_now_and_then(
    served: Deployment, after_s: float, is_worth: bool
) -> None:
    note(served, [SERVED_AT + 60.0])
    with served.database.reading() as session:
        now = SERVED_AT + 60.0 + after_s
        assert leases.is_worth_noting(session, "a", now=now) == is_worth
