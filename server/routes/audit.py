"""``/audit``: who changed what, when, and what it was before."""

from typing import Annotated

from fastapi import APIRouter, Query

from app import audit
from server.dependencies import ReadSession
from server.wire.schemas import AuditOut

router = APIRouter(prefix="/audit", tags=["admin"])


@router.get("")
def list_changes(
    session: ReadSession,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    before_id: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
    actor: str | None = None,
    subject: str | None = None,
) -> list[AuditOut]:
    """List changes, newest first; ``before_id`` is the last one's number for the next page."""
    rows = audit.recent(session, limit, before_id=before_id, actor=actor, subject=subject)
    return [AuditOut.model_validate(row) for row in rows]
