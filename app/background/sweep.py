"""Files that nobody will ask for again, removed from time to time.

The web process removes expired sessions only when somebody opens a new one, and what a
killed process was receiving stays where it was.
"""

import shutil
from pathlib import Path
from typing import Final

from app import sessions
from app.background.work import WorkContext
from app.images import incoming_folder
from app.intake.stillness import last_change

_PAUSE_S: Final = 600.0
"""Pause between two sweeps."""

_ABANDONED_S: Final = 86_400.0
"""Received files untouched for a day were left behind: no request lasts that long."""


def sweep(context: WorkContext) -> float:
    """Remove expired sessions and abandoned files; returns the seconds until the next sweep."""
    now = context.clock()
    with context.database.writing() as session:
        sessions.remove_expired(session, context.settings, now=now)
    for path in incoming_folder(context.settings).iterdir():
        if _is_abandoned(path, now):
            _remove(path)
    return _PAUSE_S


def _is_abandoned(path: Path, now: float) -> bool:
    """Tell whether a file, or everything in a folder, was left alone for long enough."""
    try:
        return now - last_change([path, *path.rglob("*")], now=now) > _ABANDONED_S
    except FileNotFoundError:
        return False


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
