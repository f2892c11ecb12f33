import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidInputError
from server.dicomweb.parts import read_parts

TYPE = 'multipart/related; type="application/dicom"; boundary=edge'


def body(*contents: bytes) -> bytes:
    head = b"--edge\r\nContent-Type: application/dicom\r\n\r\n"
    return b"".join(head + content + b"\r\n" for content in contents) + b"--edge--\r\n"


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=4))
def test_parts_come_out_as_they_went_in(contents: list[bytes]) -> None:
    parts = read_parts(TYPE, body(*contents))
    assert [part.content for part in parts] == contents
    assert {part.media_type for part in parts} == {"application/dicom"}


@pytest.mark.parametrize(
    ("content_type", "content", "words"),
    [
        ("application/dicom", b"x", "multipart/related"),
        ("multipart/related", body(b"x"), "boundary"),
        (TYPE, b"", "cut off"),
        (TYPE, body(b"x")[:-6], "cut off"),
        (TYPE, b"--edge--\r\n", "cut off"),
        (TYPE, b"--edge\r\nno headers\r\n--edge--", "no headers"),
        (TYPE, body(*[b""] * 10_001), "at most"),
    ],
)
def test_what_is_no_sound_body_is_refused(content_type: str, content: bytes, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        read_parts(content_type, content)
