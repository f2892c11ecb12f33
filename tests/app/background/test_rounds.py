"""Rounds go on whatever happens in one of them, and never keep a slow disk busy."""

import threading

import pytest

from app.background.rounds import pause_s, start_round

DEADLINE_S = 30.0


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), RuntimeError("odd")])
def test_an_error_ends_no_round(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr("app.background.rounds._AFTER_ERROR_S", 0.0)
    calls, went_on = [0], threading.Event()

    def act() -> float:
        calls[0] += 1
        if calls[0] == 1:
            raise error
        went_on.set()
        return DEADLINE_S

    stop = start_round("looking", act)
    assert went_on.wait(DEADLINE_S)
    stop.set()


def test_tells_no_file_name_of_a_failed_round(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("app.background.rounds._AFTER_ERROR_S", 0.0)
    calls, went_on = [0], threading.Event()

    def act() -> float:
        calls[0] += 1
        if calls[0] == 1:
            raise OSError(5, "Input/output error", "/studies/DOE^JANE")
        went_on.set()
        return DEADLINE_S

    stop = start_round("looking", act)
    assert went_on.wait(DEADLINE_S)
    stop.set()
    assert "looking failed: Input/output error" in caplog.text
    assert "DOE" not in caplog.text


@pytest.mark.parametrize(
    ("wanted_s", "took_s", "expected_s"), [(10.0, 0.5, 10.0), (10.0, 1.0, 10.0), (2.0, 60.0, 600.0)]
)
def test_rests_ten_times_as_long_as_it_took(
    wanted_s: float, took_s: float, expected_s: float
) -> None:
    assert pause_s(wanted_s, took_s) == expected_s
