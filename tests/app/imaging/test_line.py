"""The line to a DICOMweb server that does not answer."""

import threading

import pytest

from app.errors import PacsDownError
from app.imaging.dicom.dicomweb import DicomwebServer
from app.imaging.dicom.line import PLACES, Line
from tests.clock import Clock
from tests.dicomweb_stub import Answer, Query, stub


def ask(line: Line) -> None:
    with line.place():
        pass


def test_after_a_missing_answer_nobody_is_kept_waiting_for_some_seconds() -> None:
    clock = Clock()
    line = Line(clock)
    line.note_silence(line.now())
    with pytest.raises(PacsDownError, match="a moment ago"):
        ask(line)
    clock.now += 5.0
    ask(line)


def test_one_slow_question_is_no_silence_while_others_are_answered() -> None:
    clock = Clock()
    line = Line(clock)
    asked_at = line.now()
    clock.now += 1.0
    line.note_answer()
    line.note_silence(asked_at)
    ask(line)


def test_who_has_a_place_needs_no_second_one() -> None:
    line = Line()
    with line.place():
        for _ in range(2 * PLACES):
            ask(line)
    # All of them are free again.
    is_over = threading.Event()
    reached = threading.Semaphore(0)

    def hold() -> None:
        with line.place():
            reached.release()
            is_over.wait(30.0)

    threads = [threading.Thread(target=hold) for _ in range(PLACES)]
    for thread in threads:
        thread.start()
    try:
        assert all(reached.acquire(timeout=30.0) for _ in threads)
        with pytest.raises(PacsDownError, match="too many"):
            ask(line)
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def test_a_server_that_did_not_answer_is_not_asked_at_once_again() -> None:
    is_over = threading.Event()

    def wait(_: Query) -> Answer:
        is_over.wait(30.0)
        return Answer(b"[]")

    with stub(wait) as running:
        for _ in range(2):
            with pytest.raises(PacsDownError, match="did not answer in time"):
                DicomwebServer(running.url, timeout_s=0.2).find_series({})
        is_over.set()
    assert len(running.queries) == 1
