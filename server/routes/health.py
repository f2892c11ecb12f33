"""``/health``: whether the web process, its database, a worker and the DICOMweb server are up."""

from importlib.metadata import version

from fastapi import APIRouter

from app.background import presence
from app.pacs.status import pacs_status
from server.dependencies import Now, ReadSession, SettingsDep
from server.wire.schemas import HealthOut, PacsOut, WorkerOut

router = APIRouter(prefix="/health", tags=["admin"])


@router.get("")
def health(session: ReadSession, settings: SettingsDep, now: Now) -> HealthOut:
    """Tell which processes are up, and whether the DICOMweb server is."""
    workers = [WorkerOut.model_validate(row) for row in presence.known_workers(session, now=now)]
    status = "ok" if any(worker.is_alive for worker in workers) else "no worker"
    known = pacs_status(session, settings)
    pacs = PacsOut.model_validate(known) if known else None
    return HealthOut(status=status, version=version("caclabel"), workers=workers, pacs=pacs)
