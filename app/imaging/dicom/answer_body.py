"""The body of a DICOMweb answer, read piece by piece: a server may stop in the middle of one.

Concurrency: an object may be used by one thread after the other, never by two at once.
"""

import time
from collections.abc import Callable
from typing import Final

import requests

from app.errors import PacsDownError
from app.imaging.dicom.dicomweb_answers import answering
from app.imaging.dicom.line import Line

_PIECE_BYTES: Final = 1 << 16
"""Most that is read at once."""

_SLOWEST_BYTES_PER_S: Final = 1000.0
"""Slower than any network: a server that sends a byte now and then holds a thread for it."""


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
