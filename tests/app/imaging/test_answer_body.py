"""Answers of a DICOMweb server that stop, break off or drip."""

import pytest
import requests

from app.errors import PacsDownError
from app.imaging.dicom.answer_body import AnswerBody
from app.imaging.dicom.dicomweb import DicomwebServer
from app.imaging.dicom.line import Line
from tests.dicomweb_stub import Answer, stub


def test_an_answer_that_stops_tells_that_the_server_is_silent() -> None:
    with stub(lambda _: Answer(b"half", "application/octet-stream", missing=4)) as running:
        server = DicomwebServer(running.url, timeout_s=0.2)
        body = server.body(server.open("studies", "", {}))
        assert body.read() == b"half"
        with pytest.raises(PacsDownError, match="stopped in the middle"):
            body.read()
        with pytest.raises(PacsDownError, match="a moment ago"):
            server.open("studies", "", {})


def test_a_search_that_stops_tells_so_as_well() -> None:
    with stub(lambda _: Answer(b"[", missing=4)) as running:
        server = DicomwebServer(running.url, timeout_s=0.2)
        with pytest.raises(PacsDownError, match="stopped in the middle"):
            server.find_series({})
        with pytest.raises(PacsDownError, match="a moment ago"):
            server.find_series({})


def test_an_answer_that_breaks_off_is_no_whole_one() -> None:
    with stub(lambda _: Answer(b"half", "application/octet-stream", missing=4)) as running:
        server = DicomwebServer(running.url, timeout_s=30.0)
        body = server.body(server.open("studies", "", {}))
        assert body.read() == b"half"
        running.is_over.set()
        with pytest.raises(PacsDownError, match="cannot be reached"):
            body.read()


@pytest.mark.parametrize(
    ("body", "is_whole"),
    [(b"--x\r\n\r\nframe\r\n--x--", True), (b"--x\r\n\r\nframe\r\n--x--\r\n", True),
     (b"--x\r\n\r\nfra", False), (b"--x\r\n\r\nframe\r\n--x", False)],
)  # fmt: skip
def test_without_a_length_the_last_boundary_tells_the_end(body: bytes, is_whole: bool) -> None:
    answer = Answer(body, "multipart/related; boundary=x", has_length=False)
    with stub(lambda _: answer) as running:
        server = DicomwebServer(running.url, timeout_s=30.0)
        opened = server.body(server.open("studies", "", {}))
        assert opened.read() == body
        if is_whole:
            assert opened.read() == b""
        else:
            with pytest.raises(PacsDownError, match="broke off"):
                opened.read()


@pytest.mark.parametrize(("step_s", "is_too_slow"), [(0.01, False), (11.0, True)])
def test_dripping_is_no_answering(step_s: float, is_too_slow: bool) -> None:
    time_s = 0.0

    def clock() -> float:
        nonlocal time_s
        time_s += step_s / 2
        return time_s

    with stub(lambda _: Answer(b"drip", "application/octet-stream")) as running:
        answer = requests.get(f"{running.url}/studies", stream=True, timeout=30.0)
        body = AnswerBody(answer, Line(), patience_s=5.0, is_decoded=False, clock=clock)
        if is_too_slow:
            with pytest.raises(PacsDownError, match="too slowly"):
                body.read()
        else:
            assert body.read() == b"drip"
            assert body.read() == b""


def test_a_server_that_is_silent_is_checked_all_the_same() -> None:
    is_stuck = True
    with stub(lambda _: Answer(b"[", missing=4) if is_stuck else Answer(b"[]")) as running:
        server = DicomwebServer(running.url, timeout_s=0.2)
        with pytest.raises(PacsDownError):
            server.find_series({})
        is_stuck = False
        server.check()
        assert server.find_series({}) == []
