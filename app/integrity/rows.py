"""Rows that have to fit each other, whatever files they name."""

from collections.abc import Iterable
from typing import Final

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from app.integrity.findings import Report
from app.store.tables import AuditRow, ImageRow, LabelRow

_MOST: Final = 20
"""Lines of one kind that are told; a database that is broken has thousands."""

_RESTORE: Final = "stop the server and restore the folder from a backup"

_AUDIT_TRIGGERS: Final = {"audit_events_no_update", "audit_events_no_delete"}


def check_database(session: Session, report: Report) -> bool:
    """Let SQLite check its own file; False when its rows are not worth reading."""
    if session.get_bind().dialect.name != "sqlite":
        return True
    problems = [str(line) for line in session.scalars(text("PRAGMA integrity_check"))]
    if problems == ["ok"]:
        return True
    for problem in problems[:_MOST]:
        report.damage("database", f"{' '.join(problem.split())}; {_RESTORE}")
    return False


def check_rows(session: Session, report: Report) -> None:
    """Check keys, the versions of labels and the trail of changes."""
    if session.get_bind().dialect.name == "sqlite":
        _check_foreign_keys(session, report)
        _check_trail(session, report)
    _check_versions(session, report)
    _check_submissions(session, report)
    for table, what in ((ImageRow, "images"), (LabelRow, "label versions"), (AuditRow, "changes")):
        report.count(what, session.scalar(select(func.count()).select_from(table)) or 0)


def _check_foreign_keys(session: Session, report: Report) -> None:
    broken = session.execute(text("PRAGMA foreign_key_check")).all()
    for table, row_id, parent, _ in broken[:_MOST]:
        problem = f"it names a row of {parent} that is not there; {_RESTORE}"
        report.damage(f"row {row_id} of {table}", problem)


def _check_trail(session: Session, report: Report) -> None:
    """Rows of the trail are numbered without gaps, and nobody can change or remove one."""
    count, first, last = session.execute(
        select(func.count(AuditRow.id), func.min(AuditRow.id), func.max(AuditRow.id))
    ).one()
    if count and (first, last) != (1, count):
        report.damage(
            "audit_events", f"{last - count} of {last} rows are gone; ask who had the database open"
        )
    triggers = text("SELECT name FROM sqlite_master WHERE type = 'trigger'")
    lost = _AUDIT_TRIGGERS - set(session.scalars(triggers))
    if lost:
        problem = f"nothing protects its rows any more ({_listed(lost)} is gone); {_RESTORE}"
        report.damage("audit_events", problem)


def _check_versions(session: Session, report: Report) -> None:
    """Versions of a label are numbered from 1 without gaps: none was taken away."""
    numbered = select(
        LabelRow.image_id, LabelRow.tag, func.count(LabelRow.id), func.max(LabelRow.version)
    ).group_by(LabelRow.image_id, LabelRow.tag)
    gaps = numbered.having(func.count(LabelRow.id) != func.max(LabelRow.version))
    for image_id, tag, count, newest in session.execute(gaps.limit(_MOST)):
        problem = f"{newest - count} of its {newest} versions have no row; {_RESTORE}"
        report.damage(f"label {tag} of image {image_id}", problem)


def _check_submissions(session: Session, report: Report) -> None:
    """Every submission in the trail has its label version, with the hash it had."""
    kept: dict[tuple[str, object, object], str] = {
        (image_id, tag, version): sha256
        for image_id, tag, version, sha256 in session.execute(
            select(LabelRow.image_id, LabelRow.tag, LabelRow.version, LabelRow.sha256)
        )
    }
    submitted = select(AuditRow.subject, AuditRow.change).where(AuditRow.action == "submit label")
    lost = 0
    for subject, change in session.execute(submitted):
        key = (subject, change.get("tag"), change.get("version"))
        if kept.get(key) != change.get("sha256") and lost < _MOST:
            lost += 1
            problem = f"the trail of changes has it with another content or row; {_RESTORE}"
            report.damage(f"label {key[1]} version {key[2]} of image {subject}", problem)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
