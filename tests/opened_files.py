"""Which files are opened, as the interpreter itself reports it."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def opened_below(folder: Path) -> Iterator[set[str]]:
    """Collect the names of the files below a folder that are opened in the block."""
    names: set[str] = set()
    is_watched = True

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if is_watched and event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)):
            path = Path(os.fsdecode(arguments[0]))
            if path.is_relative_to(folder):
                names.add(path.name)

    # It stays for the life of the process, and is cheap while nothing is watched.
    sys.addaudithook(note)
    try:
        yield names
    finally:
        is_watched = False
