"""Real files with something wrong in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

_ODD: Final = (
    b"", b"\0", b"\xff\xff", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0" * 8, b"\0\0\xc0\x7f",
    b"\0\0\x80\x7f", b"\0\0\x80\xff", b"-1", b"0", b"1e400", b"nan", b"inf", b"-", b"99999999999",
    b"\n", b"\r\n\r\n", b"%s%n", b"../../x", b"\xed\xa0\x80", b"(((((", b"{}", b"[[[[", b"\\" * 9,
)  # fmt: skip
"""Bytes that mean something: ends, limits, no number, no text."""


@dataclass(frozen=True)
class Edit:
    """One thing that is wrong.

    Attributes:
        place: Where, as a part of the length.
        removed: How many bytes are gone.
        put: What stands there instead.
    """

    place: float
    removed: int
    put: bytes

    def apply(self, content: bytes) -> bytes:
        """Return the content with this wrong in it."""
        at = int(self.place * len(content))
        return content[:at] + self.put + content[at + self.removed :]


def damaged(content: bytes, head: int) -> SearchStrategy[bytes]:
    """Draw copies of a file with bits flipped, bytes replaced, or its end cut off.

    Args:
        content: A sound file.
        head: Bytes of its header, which is damaged more often than the rest.
    """
    places = st.one_of(
        st.floats(0, min(1.0, head / len(content)), exclude_max=True),
        st.floats(0, 1, exclude_max=True),
    )
    puts = st.one_of(st.sampled_from(_ODD), st.binary(max_size=4))
    edits = st.builds(Edit, places, st.integers(0, 8), puts)
    return st.one_of(
        st.lists(edits, min_size=1, max_size=3).map(lambda found: _apply(content, found)),
        st.integers(0, 8 * len(content) - 1).map(lambda bit: _flip(content, bit)),
        st.integers(0, len(content) - 1).map(lambda length: content[:length]),
    )


def _apply(content: bytes, edits: Sequence[Edit]) -> bytes:
    for edit in edits:
        content = edit.apply(content)
    return content


def _flip(content: bytes, bit: int) -> bytes:
    flipped = bytearray(content)
    flipped[bit // 8] ^= 1 << bit % 8
    return bytes(flipped)
