"""Files that nobody will ask for again, removed from time to time.

The web process removes expired sessions only when somebody opens a new one, and what a
killed process was receiving stays where it was, as does the state of a training that was
stopped or failed.
"""

import shutil
from pathlib import Path
from typing import Final

from sqlalchemy import select

from app import jobs, sessions
from app.background.work import WorkContext
from app.images import incoming_folder
from app.intake.stillness import last_change
from app.integrity.damage import forget_mended
from app.store.tables import JobRow

_PAUSE_S: Final = 600.0
"""Pause between two sweeps."""

_ABANDONED_S: Final = 86_400.0
"""Received files untouched for a day were left behind: no request lasts that long."""


def sweep(context: WorkContext) -> float:
    """Remove what nobody needs any more; returns the seconds until the next sweep."""
    now = context.clock()
    with context.database.writing() as session:
        sessions.remove_expired(session, context.settings, now=now)
    for path in incoming_folder(context.settings).iterdir():
        if _is_abandoned(path, now):
            _remove(path)
    for path in _ended_runs(context):
        _remove(path)
    forget_mended(context.database, context.files)
    return _PAUSE_S


def _ended_runs(context: WorkContext) -> list[Path]:
    """Return the folders of trainings that have ended; nothing takes them up again."""
    folders = {path.name: path for path in context.settings.runs.glob("*")}
    with context.database.reading() as session:
        ended = select(JobRow.id).where(JobRow.id.in_(folders), JobRow.status.not_in(jobs.OPEN))
        return [folders[job_id] for job_id in session.scalars(ended)]


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
