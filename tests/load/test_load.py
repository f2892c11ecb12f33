"""Fifty annotators for some seconds, and a large upload: nothing refused, lost, double, left."""

import pytest

from tests.load.annotators import Plan
from tests.load.records import Hold, held_twice
from tests.load.run import Outcome, play
from tests.load.upload import SLICE_BYTES
from tests.load.watching import Glance, memory_growth

_UPLOAD_BYTES = 16 * SLICE_BYTES
"""64 MiB."""


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    plan = Plan(clients=50, seconds=2.0, think_s=0.3, images=2)
    folder = tmp_path_factory.mktemp("load")
    return play(folder, plan, upload_bytes=_UPLOAD_BYTES, quiet_s=0.0)


@pytest.mark.slow
class TestFiftyClients:
    def test_are_refused_nothing(self, outcome: Outcome) -> None:
        assert outcome.records.errors == []
        assert outcome.records.kept

    def test_never_hold_one_image_at_once(self, outcome: Outcome) -> None:
        assert outcome.records.holds
        assert outcome.verdict.double == []

    def test_find_every_label_as_they_sent_it(self, outcome: Outcome) -> None:
        assert outcome.verdict.lost == []
        assert outcome.verdict.damage == []
        assert outcome.verdict.labels == len(outcome.records.kept)

    def test_leave_nothing_behind(self, outcome: Outcome) -> None:
        assert outcome.verdict.left_over == []

    def test_are_answered_while_something_huge_comes_in(self, outcome: Outcome) -> None:
        assert outcome.upload is not None
        assert (outcome.upload.status, outcome.upload.text) == (200, '{"image":"huge"}')
        assert outcome.upload.meanwhile.seconds
        assert outcome.upload.meanwhile.errors == []
        assert outcome.upload.left_over == []


def test_an_image_that_two_held_at_once_is_found() -> None:
    first, second = Hold("a", "anna", 1.0, 5.0), Hold("a", "ben", 4.0, 6.0)
    later, other = Hold("a", "cleo", 6.0, 7.0), Hold("b", "ben", 1.0, 9.0)
    assert held_twice([later, other, second, first]) == [(first, second)]


def test_memory_that_rises_all_the_time_is_not_flat() -> None:
    # 0.2 MiB a second for 300 s, of which the last 200 count: 40 MiB.
    rising = [Glance(float(at), 300 + 0.2 * at, 10, 10, 0.0) for at in range(300)]
    assert not memory_growth(rising).is_flat
    # A jump while caches fill is none.
    jumped = [Glance(float(at), 350 if at > 50 else 300, 10, 10, 0.0) for at in range(300)]
    assert memory_growth(jumped).is_flat
