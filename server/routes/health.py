"""``/health``: what is up and what is missing; ``/live`` and ``/ready`` are for machines."""

from importlib.metadata import version

from fastapi import APIRouter, Response

from app.background import presence
from app.integrity.readiness import Readiness, readiness
from app.pacs.status import pacs_status
from server.dependencies import Now, ReadSession, ServicesDep, SettingsDep
from server.wire.schemas import HealthOut, PacsOut, StateOut, WorkerOut

router = APIRouter(prefix="/health", tags=["admin"])

_NOT_READY = 503


@router.get("")
def health(session: ReadSession, settings: SettingsDep, now: Now, response: Response) -> HealthOut:
    """Tell what is up and what is missing; 503 while labels cannot be stored."""
    workers = presence.known_workers(session, now=now)
    pacs = pacs_status(session, settings)
    found = readiness(session, settings, workers, pacs)
    response.status_code = 200 if found.is_ready else _NOT_READY
    return HealthOut(
        status=_status(found, has_worker=any(worker.is_alive for worker in workers)),
        is_ready=found.is_ready,
        missing=list(found.missing),
        free_bytes=found.free_bytes,
        damaged_files=found.damaged_files,
        version=version("caclabel"),
        workers=[WorkerOut.model_validate(worker) for worker in workers],
        pacs=PacsOut.model_validate(pacs) if pacs else None,
    )


@router.get("/live")
def live() -> StateOut:
    """Tell that this process answers; a container that does not should be started again."""
    return StateOut(status="alive")


@router.get("/ready")
def ready(
    session: ReadSession, settings: SettingsDep, services: ServicesDep, response: Response
) -> StateOut:
    """Tell whether labels can be stored: 503 while they cannot, and once the server is stopped."""
    is_ready = not services.stopping.is_set() and readiness(session, settings, (), None).is_ready
    response.status_code = 200 if is_ready else _NOT_READY
    return StateOut(status="ready" if is_ready else "not ready")


def _status(found: Readiness, *, has_worker: bool) -> str:
    if not found.is_ready:
        return "not ready"
    return "ok" if has_worker else "no worker"
