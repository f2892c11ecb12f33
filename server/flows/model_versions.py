"""Answers about model versions."""

from sqlalchemy.orm import Session

from app import model_versions
from app.store.tables import ModelVersionRow
from server.wire.model_versions import Status, VersionOut


def list_versions(session: Session) -> list[VersionOut]:
    """Return every version, the newest first."""
    return [version_out(session, row) for row in model_versions.list_versions(session)]


def get_version(session: Session, version_id: int) -> VersionOut:
    """Return one version.

    Raises:
        NotFoundError: If there is none with this id.
    """
    return version_out(session, model_versions.get_version(session, version_id))


def version_out(session: Session, row: ModelVersionRow) -> VersionOut:
    """Return what is told of a version."""
    lineage = model_versions.ancestors(session, row)
    return VersionOut.of(row, status=_status(session, row), lineage=lineage)


def _status(session: Session, row: ModelVersionRow) -> Status:
    if row.is_active:
        return "active"
    if model_versions.has_answered(session, row.id):
        return "former"
    return "waiting" if row.decision is None else "kept back"
