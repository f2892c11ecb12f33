"""Locks between processes; the kernel frees them however a process ends."""

import fcntl
from pathlib import Path
from typing import TextIO

from app.errors import ConflictError


def hold(path: Path, refusal: str) -> TextIO:
    """Take a lock for as long as the returned file is open.

    Args:
        path: Lock file, which is made, and stays.
        refusal: What to say when another process holds it.

    Raises:
        ConflictError: If another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise ConflictError(refusal) from None
    return file
