"""``/model_versions``: every trained network, how it was judged, and which one answers."""

from fastapi import APIRouter

from app import model_versions as versions
from app.training.coverage import later_coverage
from server.dependencies import DatabaseDep, Now, ReadSession, RowId, SettingsDep
from server.flows import model_versions
from server.wire.model_versions import LaterCoverageOut, PromotionIn, RollbackIn, VersionOut

router = APIRouter(prefix="/model_versions", tags=["admin"])


@router.get("")
def list_versions(session: ReadSession) -> list[VersionOut]:
    """List the model versions, newest first, with figures, decision and where they came from."""
    return model_versions.list_versions(session)


@router.get("/{version_id}")
def get_version(session: ReadSession, version_id: RowId) -> VersionOut:
    """Return one model version."""
    return model_versions.get_version(session, version_id)


@router.get("/{version_id}/coverage")
def get_coverage(session: ReadSession, version_id: RowId) -> LaterCoverageOut:
    """Return how often its score intervals held on patients labeled after it was made."""
    return LaterCoverageOut.of(later_coverage(session, versions.get_version(session, version_id)))


@router.post("/rollback")
def roll_back(
    database: DatabaseDep, settings: SettingsDep, now: Now, change: RollbackIn
) -> VersionOut:
    """Let the version answer that answered before the present one; 409 when there is none."""
    with database.writing() as session:
        row = versions.roll_back(
            session,
            settings,
            expected_active=change.expected_active,
            actor=change.client_id,
            now=now,
            reason=change.reason,
        )
        return model_versions.version_out(session, row)


@router.post("/{version_id}/promote")
def promote(
    database: DatabaseDep,
    settings: SettingsDep,
    now: Now,
    version_id: RowId,
    change: PromotionIn | None = None,
) -> VersionOut:
    """Let a version answer, whatever the comparison found; 409 when it answers already."""
    who = change or PromotionIn()
    with database.writing() as session:
        row = versions.promote(
            session,
            settings,
            version_id,
            expected_active=who.expected_active,
            actor=who.client_id,
            now=now,
            reason=who.reason,
        )
        return model_versions.version_out(session, row)
