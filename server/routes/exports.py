"""``/exports``: labels on their way to the DICOMweb server, and another try for one of them."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.pacs import exports
from app.pacs.exports import ExportStatus
from server.dependencies import DatabaseDep, Now, ReadSession, RowId
from server.wire.exports import ExportOut
from server.wire.options import DEFAULT_CLIENT

router = APIRouter(prefix="/exports", tags=["admin"])


@router.get("")
def list_exports(
    session: ReadSession,
    status: ExportStatus | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[ExportOut]:
    """List exports, newest label first, each with its status and what went wrong last."""
    rows = exports.list_exports(session, status=status, limit=limit)
    return [ExportOut.of(export, label) for export, label in rows]


@router.post("/{label_id}/retry")
def retry_export(database: DatabaseDep, now: Now, label_id: RowId) -> ExportOut:
    """Try to store a label again, also one that was given up; 409 when it is stored."""
    with database.writing() as session:
        row, label = exports.retry_export(session, label_id, actor=DEFAULT_CLIENT, now=now)
        return ExportOut.of(row, label)
