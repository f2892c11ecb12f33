"""``/health``: whether the web process, its database and a worker are up."""

from importlib.metadata import version

from fastapi import APIRouter

from app.background import presence
from server.dependencies import Now, ReadSession
from server.wire.schemas import HealthOut, WorkerOut

router = APIRouter(prefix="/health", tags=["admin"])


@router.get("")
def health(session: ReadSession, now: Now) -> HealthOut:
    """Tell which processes are up; predictions and trainings need a living worker."""
    workers = [WorkerOut.model_validate(row) for row in presence.known_workers(session, now=now)]
    status = "ok" if any(worker.is_alive for worker in workers) else "no worker"
    return HealthOut(status=status, version=version("caclabel"), workers=workers)
