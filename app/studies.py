"""Looking after the studies folder: scan it when something in it has changed."""

import hashlib
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Final

from app import images, jobs, model_versions
from app.background.work import Progress, Units, WorkContext
from app.intake.folder_scan import ScanReport
from app.intake.stillness import Stillness
from app.settings import Settings
from app.store.tables import JobRow

logger = logging.getLogger(__name__)

_RETRY_S: Final = 60.0
"""Shortest pause before a scan that failed, or met doubtful files, is repeated."""

_SETTLE_SHARE: Final = 0.5
"""Files are taken that were left alone for this part of the pause between two looks."""

_RETRY_REST: Final = 10.0
"""Such a scan is repeated after so many times as long as it took."""

_UNIT_S: Final = 0.5
"""Length of a unit. Each is noted by two transactions, while most images are known already: under
load, noting those one by one kept new ones waiting for minutes."""

_LONGEST_RETRY_S: Final = 3600.0
"""Longest such pause: a clock that was set forward meanwhile makes a scan seem to take hours."""


def scan(context: WorkContext, job: JobRow) -> Units:
    """Register what is new in the studies folder, as many images a unit as fit into a moment."""
    del job
    yield Progress(0.0, "looking at the studies folder")
    stillness = _stillness(context)
    steps = images.scan_steps(
        context.database,
        context.settings,
        now=context.clock,
        stillness=stillness,
        headers=context.headers,
    )
    while True:
        try:
            fraction = _advance(steps)
        except StopIteration as end:
            report: ScanReport = end.value
            break
        yield Progress(fraction)
    if report.registered:
        with context.database.writing() as session:
            model_versions.request_pool_scoring(session, context.settings, now=context.clock())
    return asdict(report)


def _advance(steps: Iterator[float]) -> float:
    """Take steps for a moment; their end is passed on."""
    until = time.monotonic() + _UNIT_S
    fraction = next(steps)
    while time.monotonic() < until:
        fraction = next(steps)
    return fraction


def look(context: WorkContext) -> float:
    """Queue a scan when one is due; returns the seconds until the next look.

    While files arrive the looks come more often, so that nobody waits long for them.
    """
    is_busy = request_scan_if_due(context)
    return settle_s(context.settings) if is_busy else context.settings.scan_seconds


def settle_s(settings: Settings) -> float:
    """Return how long files must have held still before a scan takes them."""
    return settings.scan_seconds * _SETTLE_SHARE


def request_scan_if_due(context: WorkContext) -> bool:
    """Queue a scan when the folder changed since the last one, or that one has to be repeated.

    Returns:
        Whether a scan is open or another one will soon be due.
    """
    if context.settings.studies_folder is None:
        return False
    signature = folder_signature(context.settings.studies_folder)
    with context.database.writing() as session:
        if jobs.running(session, "scan") is not None:
            return True
        last, now = jobs.latest(session, "scan"), context.clock()
        is_due = last is None or last.request.get("signature") != signature
        if is_due or (last and _is_repetition_due(last, context.settings, now)):
            jobs.request_job(session, "scan", {"signature": signature}, now=now)
            return True
    return last is not None and bool(last.result.get("arriving"))


def _is_repetition_due(last: JobRow, settings: Settings, now: float) -> bool:
    """Tell whether a scan has to be repeated by now; one that a person stopped never has."""
    ended = last.ended_at or last.created_at
    took = ended - (last.started_at or ended)
    if last.status == "done" and last.result.get("arriving"):
        return now - ended >= settle_s(settings)
    is_wrong = last.status == "failed" or bool(last.result.get("doubtful"))
    pause_s = min(max(_RETRY_S, _RETRY_REST * took), _LONGEST_RETRY_S)
    return is_wrong and now - ended >= pause_s


def _stillness(context: WorkContext) -> Stillness:
    """Return what is known of the files that were arriving when the last scan ended."""
    with context.database.reading() as session:
        ended = [job for job in jobs.history(session, "scan", limit=2) if job.status == "done"]
    met_at = ended[0].result.get("met_at", {}) if ended else {}
    return Stillness(settle_s(context.settings), met_at)


def folder_signature(folder: Path) -> str:
    """Return a hash over the name, size and time of every file; opens none of them."""
    digest = hashlib.sha256()
    for path in sorted(_files_below(folder)):
        try:
            facts = path.stat()
        except OSError:
            # Files come and go while a scanner writes; the next look will tell.
            continue
        entry = f"{path.relative_to(folder)}|{facts.st_size}|{facts.st_mtime_ns}\n"
        digest.update(os.fsencode(entry))
    return digest.hexdigest()


def _files_below(folder: Path) -> Iterator[Path]:
    """Yield every file below a folder and behind links to folders, each folder once."""
    seen: set[tuple[int, int]] = set()
    for here, subfolders, names in os.walk(folder, followlinks=True):
        facts = Path(here).stat()
        if (facts.st_dev, facts.st_ino) in seen:
            subfolders.clear()
            continue
        seen.add((facts.st_dev, facts.st_ino))
        yield from (Path(here, name) for name in names)
