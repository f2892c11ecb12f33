"""``/scoring/``: quality figures of labels and predictions, made in the background."""

from fastapi import APIRouter
from pydantic import JsonValue

from server.dependencies import DatabaseDep, Now, ReadSession, ServicesDep
from server.flows import evaluation, tasks
from server.wire.catalog import MethodName
from server.wire.schemas import TaskOut

router = APIRouter(prefix="/scoring", tags=["scoring"])


@router.get("")
def scoring_status(
    session: ReadSession, all: bool = False, check_if_running: bool = False
) -> TaskOut | list[TaskOut]:
    """Return the latest scoring, all of them, or the running one (404 when none runs)."""
    return tasks.status_answer(session, "evaluate", every=all, running=check_if_running)


@router.post("/{method}")
def score(
    services: ServicesDep, now: Now, method: MethodName, run_sync: bool = False
) -> TaskOut | dict[str, JsonValue]:
    """Start a scoring method; 429 when one runs."""
    return tasks.started(services, evaluation.starter(method, now=now), wait=run_sync)


@router.post("")
def score_all(services: ServicesDep, now: Now, run_sync: bool = False) -> dict[str, JsonValue]:
    """Start every scoring method, one after the other."""
    return evaluation.start_every(services, now=now, wait=run_sync)


@router.delete("")
def scoring_stop(database: DatabaseDep, now: Now) -> TaskOut | None:
    """Stop the running scoring; null when none runs."""
    with database.writing() as session:
        return tasks.stop_task(session, "evaluate", now=now)
