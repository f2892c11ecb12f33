"""The part of a page of the documentation that a simulation writes, among others' parts."""

from pathlib import Path
from typing import Final

_BEGIN: Final = "<!-- written by caclabel simulate: begin -->"
_END: Final = "<!-- written by caclabel simulate: end -->"


def put_section(page: Path, section: str) -> None:
    """Put the section into a page, in the place of the one from before, or at its end."""
    before = page.read_text(encoding="utf-8") if page.exists() else ""
    block = f"{_BEGIN}\n{section.rstrip()}\n{_END}"
    old = _find(before)
    text = before.replace(old, block) if old else f"{before.rstrip()}\n\n{block}\n".lstrip()
    page.write_text(text, encoding="utf-8")


def rewrite_around_section(page: Path, text: str) -> None:
    """Write a page anew, and keep the section that was in it at the end."""
    section = _find(page.read_text(encoding="utf-8")) if page.exists() else ""
    kept = f"{text.rstrip()}\n\n{section}\n" if section else text
    page.write_text(kept, encoding="utf-8")


def _find(text: str) -> str:
    """Return the section with its marks, or nothing."""
    begin, end = text.find(_BEGIN), text.find(_END)
    return text[begin : end + len(_END)] if 0 <= begin < end else ""
