"""``/batch/infer``: predictions of many images, kept as labels of the tag ``original``."""

from typing import Literal

from fastapi import APIRouter
from pydantic import JsonValue

from server.dependencies import DatabaseDep, Now, ReadSession, ServicesDep
from server.flows import evaluation, tasks
from server.wire.catalog import ModelName
from server.wire.options import JsonObject
from server.wire.schemas import TaskOut

router = APIRouter(prefix="/batch/infer", tags=["batch"])


@router.get("")
def batch_status(
    session: ReadSession, all: bool = False, check_if_running: bool = False
) -> TaskOut | list[TaskOut]:
    """Return the latest batch, all of them, or the running one (404 when none runs)."""
    return tasks.status_answer(session, "batch", every=all, running=check_if_running)


@router.post("/{model}")
def batch_infer(
    services: ServicesDep,
    now: Now,
    model: ModelName,
    options: JsonObject | None = None,
    images: Literal["all", "labeled", "unlabeled"] = "all",
    run_sync: bool = False,
) -> TaskOut | dict[str, JsonValue]:
    """Predict many images; 429 when a batch runs."""
    start = evaluation.batch_starter(images, options or {}, now=now)
    return tasks.started(services, start, wait=run_sync)


@router.delete("")
def batch_stop(database: DatabaseDep, now: Now) -> TaskOut | None:
    """Stop the running batch; null when none runs."""
    with database.writing() as session:
        return tasks.stop_task(session, "batch", now=now)
