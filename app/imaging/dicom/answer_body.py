"""The body of a DICOMweb answer, read piece by piece: a server may stop in the middle of one.

Concurrency: an object may be used by one thread after the other, never by two at once.
"""

import time
from collections.abc import Callable, Iterator
from email.message import Message
from typing import Final

import requests

from app.errors import PacsDownError
from app.imaging.dicom.dicomweb_answers import answering
from app.imaging.dicom.line import Line

_PIECE_BYTES: Final = 1 << 16
"""Most that is read at once."""

_SLOWEST_BYTES_PER_S: Final = 1000.0
"""Slower than any network: a server that sends a byte now and then holds a thread for it."""


class _End:
    """Tells whether the last part of an answer came as a whole.

    Orthanc ends some answers by closing the connection, which a server that was killed does
    as well. Of parts the last boundary tells the difference; HTTP tells it of other answers.
    """

    def __init__(self, answer: requests.Response, *, is_decoded: bool) -> None:
        headers = answer.headers
        kind = Message()
        kind["Content-Type"] = headers.get("Content-Type", "")
        boundary = kind.get_boundary()
        is_told = "Content-Length" in headers or "Transfer-Encoding" in headers
        is_readable = is_decoded or "Content-Encoding" not in headers
        is_needed = boundary is not None and is_readable and not is_told
        self._wanted = f"--{boundary}--".encode() if is_needed else b""
        self._tail = b""

    def add(self, piece: bytes) -> None:
        # Some send a line feed after the last boundary, and a boundary may come in two pieces.
        self._tail = (self._tail + piece)[-2 * len(self._wanted) :] if self._wanted else b""

    def check(self) -> None:
        if self._wanted not in self._tail:
            raise PacsDownError("the DICOMweb server broke off in the middle of an answer")


def watch_end(answer: requests.Response, *_: object, **__: object) -> None:
    """Let reading an answer raise PacsDownError when it broke off; a hook of requests."""
    read, end = answer.iter_content, _End(answer, is_decoded=True)

    def iter_content(chunk_size: int | None = 1, decode_unicode: bool = False) -> Iterator[bytes]:
        for piece in read(chunk_size, decode_unicode):
            end.add(piece)
            yield piece
        end.check()

    answer.iter_content = iter_content  # type: ignore[method-assign]  # of this answer only


class AnswerBody:
    """What follows the headers of an answer."""

    def __init__(
        self,
        answer: requests.Response,
        line: Line,
        *,
        patience_s: float,
        is_decoded: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare to read.

        Args:
            answer: Answer whose body was not read yet.
            line: Line to its server.
            patience_s: Waiting time in all after which a server may be too slow.
            is_decoded: Whether compression in transport is undone.
            clock: Time in seconds.
        """
        self._answer = answer
        self._line = line
        self._patience_s = patience_s
        self._is_decoded = is_decoded
        self._clock = clock
        self._waited_s = 0.0
        self._received = 0
        self._end = _End(answer, is_decoded=is_decoded)

    def read(self) -> bytes:
        """Return the next piece as soon as there is one, nothing at the end.

        Raises:
            PacsDownError: If the server stops in the middle, or is slower than any network;
                the answer is closed then.
        """
        asked_at, began = self._line.now(), self._clock()
        try:
            self._line.check()
            with answering(lambda: self._line.note_silence(asked_at)):
                piece: bytes = self._answer.raw.read1(_PIECE_BYTES, decode_content=self._is_decoded)
            self._line.note_answer()
            self._waited_s += self._clock() - began
            self._received += len(piece)
            self._check_pace()
            self._end.add(piece)
            if not piece:
                self._end.check()
        except PacsDownError:
            self.close()
            raise
        return piece

    def close(self) -> None:
        """End the connection."""
        self._answer.close()

    def _check_pace(self) -> None:
        expected = (self._waited_s - self._patience_s) * _SLOWEST_BYTES_PER_S
        if self._received < expected:
            raise PacsDownError("the DICOMweb server sends its answer too slowly")
