"""Looking after the studies folder: scan it when something in it has changed."""

import hashlib
import logging
import os
from dataclasses import asdict
from pathlib import Path
from typing import Final

from app import images, jobs, model_versions
from app.background.work import Progress, Units, WorkContext
from app.intake.folder_scan import ScanReport
from app.store.tables import JobRow

logger = logging.getLogger(__name__)

_RETRY_S: Final = 60.0
"""Shortest pause before a scan that failed, or met doubtful files, is repeated."""

_RETRY_REST: Final = 10.0
"""Such a scan is repeated after so many times as long as it took."""


def scan(context: WorkContext, job: JobRow) -> Units:
    """Register what is new in the studies folder, one image a unit."""
    del job
    yield Progress(0.0, "looking at the studies folder")
    steps = images.scan_steps(context.database, context.settings, now=context.clock)
    while True:
        try:
            fraction = next(steps)
        except StopIteration as end:
            report: ScanReport = end.value
            break
        yield Progress(fraction)
    if report.registered:
        with context.database.writing() as session:
            model_versions.request_scoring(session, now=context.clock())
    return asdict(report)


def look(context: WorkContext) -> float:
    """Queue a scan when one is due; returns the seconds until the next look."""
    request_scan_if_due(context)
    return context.settings.scan_seconds


def request_scan_if_due(context: WorkContext) -> None:
    """Queue a scan when the folder changed since the last one, or that one has to be repeated."""
    if context.settings.studies_folder is None:
        return
    signature = folder_signature(context.settings.studies_folder)
    with context.database.writing() as session:
        if jobs.running(session, "scan") is not None:
            return
        last, now = jobs.latest(session, "scan"), context.clock()
        if last is None or last.request.get("signature") != signature or _is_retry_due(last, now):
            jobs.request_job(session, "scan", {"signature": signature}, now=now)


def _is_retry_due(last: JobRow, now: float) -> bool:
    """Tell whether a scan has to be repeated by now; one that a person stopped never has."""
    if last.status == "canceled" or (last.status == "done" and not last.result.get("doubtful")):
        return False
    ended = last.ended_at or last.created_at
    took = ended - (last.started_at or ended)
    return now - ended >= max(_RETRY_S, _RETRY_REST * took)


def folder_signature(folder: Path) -> str:
    """Return a hash over the name, size and time of every file; opens none of them."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        try:
            facts = path.stat()
        except OSError:
            # Files come and go while a scanner writes; the next look will tell.
            continue
        entry = f"{path.relative_to(folder)}|{facts.st_size}|{facts.st_mtime_ns}\n"
        digest.update(os.fsencode(entry))
    return digest.hexdigest()
