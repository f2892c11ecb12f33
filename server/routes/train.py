"""``/train/``: starting, watching and stopping the training."""

from fastapi import APIRouter
from pydantic import JsonValue

from server.dependencies import DatabaseDep, Now, ReadSession, ServicesDep
from server.flows import tasks, training
from server.wire.catalog import ModelName
from server.wire.options import JsonObject
from server.wire.schemas import TaskOut

router = APIRouter(prefix="/train", tags=["train"])


@router.get("")
def train_status(
    session: ReadSession, all: bool = False, check_if_running: bool = False
) -> TaskOut | list[TaskOut]:
    """Return the latest training, all of them, or the running one (404 when none runs)."""
    return tasks.status_answer(session, "train", every=all, running=check_if_running)


@router.post("/{model}")
def train(
    services: ServicesDep,
    now: Now,
    model: ModelName,
    options: JsonObject | None = None,
    run_sync: bool = False,
    enqueue: bool = False,
) -> TaskOut | dict[str, JsonValue]:
    """Start a training; 429 when one runs, unless it may wait for its turn."""
    request = training.train_request(services.settings, model, options or {})
    start = training.starter(services.settings, request, now=now, enqueue=enqueue)
    return tasks.started(services, start, wait=run_sync)


@router.post("")
def train_all(
    services: ServicesDep, now: Now, options: JsonObject | None = None
) -> dict[str, JsonValue]:
    """Start the training of every trainer there is, as OHIF does."""
    with services.database.writing() as session:
        return training.start_every(session, services.settings, options or {}, now=now)


@router.delete("")
def train_stop(database: DatabaseDep, now: Now) -> TaskOut | None:
    """Stop the running training; null when none runs."""
    with database.writing() as session:
        return tasks.stop_task(session, "train", now=now)
