"""Looking after the studies folder: scan it when something in it has changed."""

import hashlib
import logging
import os
from dataclasses import asdict
from pathlib import Path

from app import images, jobs, model_versions
from app.background.work import Progress, Units, WorkContext
from app.intake.folder_scan import ScanReport
from app.store.tables import JobRow

logger = logging.getLogger(__name__)


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
    request_scan_if_changed(context)
    return context.settings.scan_seconds


def request_scan_if_changed(context: WorkContext) -> None:
    """Queue a scan when the folder differs from the one that was scanned last."""
    if context.settings.studies_folder is None:
        return
    signature = folder_signature(context.settings.studies_folder)
    with context.database.writing() as session:
        last = jobs.latest(session, "scan")
        is_known = last is not None and last.request.get("signature") == signature
        if not is_known and jobs.running(session, "scan") is None:
            jobs.request_job(session, "scan", {"signature": signature}, now=context.clock())


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
