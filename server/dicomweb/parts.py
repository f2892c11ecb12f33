"""Bodies of several parts (multipart/related, RFC 2387), as DICOMweb sends them both ways."""

import re
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.message import Message
from typing import Final

from fastapi.responses import StreamingResponse

from app.errors import InvalidInputError

_BOUNDARY_BYTES: Final = 16
"""Random bytes of a boundary: no file holds it by chance."""

_MOST_PARTS: Final = 10_000
"""More instances than any series has."""

_HEAD_BYTES: Final = 4096
"""Longest headers of a part."""

_BOUNDARY: Final = re.compile(r"[A-Za-z0-9'()+_,./:=? -]{1,70}")
"""What RFC 2046 allows as a boundary."""


@dataclass(frozen=True)
class Part:
    """One part of a body.

    Attributes:
        media_type: Its Content-Type without parameters, in lower case.
        content: Its bytes.
    """

    media_type: str
    content: bytes


def read_parts(content_type: str, body: bytes) -> list[Part]:
    """Take a body apart.

    Args:
        content_type: Content-Type of the request.
        body: The whole body.

    Returns:
        The parts, none of them empty.

    Raises:
        InvalidInputError: If it is no multipart/related, is cut off, or holds no part.
    """
    boundary = _boundary(content_type)
    # The first boundary needs no line break before it.
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary)
    if len(pieces) - 1 > _MOST_PARTS:
        raise InvalidInputError(f"expected at most {_MOST_PARTS} parts in one request")
    if len(pieces) < 3 or not pieces[-1].startswith(b"--"):
        raise InvalidInputError("the upload is cut off: its last boundary is missing")
    return [_part(piece) for piece in pieces[1:-1]]


def parts_answer(media_type: str, parts: Iterable[tuple[str, bytes]]) -> StreamingResponse:
    """Answer with parts, one after the other as they are made.

    Args:
        media_type: Type of the parts, for the header of the answer.
        parts: Content-Type and bytes of each part.
    """
    boundary = secrets.token_hex(_BOUNDARY_BYTES)

    def chunks() -> Iterator[bytes]:
        for content_type, content in parts:
            yield f"--{boundary}\r\nContent-Type: {content_type}\r\n\r\n".encode()
            yield content
            yield b"\r\n"
        yield f"--{boundary}--\r\n".encode()

    header = f'multipart/related; type="{media_type}"; boundary={boundary}'
    return StreamingResponse(chunks(), media_type=header)


def _boundary(content_type: str) -> bytes:
    message = Message()
    message["Content-Type"] = content_type
    boundary = message.get_boundary("")
    if message.get_content_type() != "multipart/related" or not _BOUNDARY.fullmatch(boundary):
        raise InvalidInputError("expected multipart/related with a boundary as Content-Type")
    return boundary.encode()


def _part(piece: bytes) -> Part:
    # After a boundary comes the rest of its line, the headers and an empty line.
    head, found, content = piece.partition(b"\r\n\r\n")
    if not found or len(head) > _HEAD_BYTES:
        raise InvalidInputError("a part of the upload has no headers")
    message = Message()
    for line in head.decode("latin-1").split("\r\n")[1:]:
        name, _, value = line.partition(":")
        if name.lower() == "content-type":
            message["Content-Type"] = value.strip()
    return Part(message.get_content_type(), content)
