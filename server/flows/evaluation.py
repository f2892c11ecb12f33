"""Requests for scorings and for batches of predictions."""

from collections.abc import Callable

from pydantic import JsonValue
from sqlalchemy.orm import Session

from app import model_versions
from app.errors import NotReadyError
from app.store.tables import JobRow, Json
from server.dependencies import Services
from server.flows.infer_answers import prediction_tag
from server.flows.tasks import request_task, started
from server.wire.catalog import SCORING_METHODS
from server.wire.options import JsonObject, client_of
from server.wire.schemas import TaskOut


def starter(method: str, *, now: float, enqueue: bool = False) -> Callable[[Session], JobRow]:
    """Return what queues a scoring method in a transaction."""

    def start(session: Session) -> JobRow:
        request: Json = {"method": method}
        return request_task(session, "evaluate", request, now=now, enqueue=enqueue)

    return start


def start_every(services: Services, *, now: float, wait: bool) -> dict[str, JsonValue]:
    """Start every scoring method, the later ones waiting for their turn."""
    answers: dict[str, JsonValue] = {}
    for method in SCORING_METHODS:
        answer = started(services, starter(method, now=now, enqueue=True), wait=wait)
        result = answer.model_dump() if isinstance(answer, TaskOut) else answer
        answers[method] = {"result": result, "detail": None}
    return answers


def batch_starter(images: str, given: JsonObject, *, now: float) -> Callable[[Session], JobRow]:
    """Return what queues the prediction of many images in a transaction.

    Raises:
        InvalidInputError: If the results would replace the labels of people.
    """
    tag = prediction_tag(given.get("label_tag"))
    request: Json = {"images": images, "label_tag": tag, "client_id": client_of(given)}

    def start(session: Session) -> JobRow:
        if model_versions.active(session) is None:
            raise NotReadyError("no trained model yet; submit labels and start a training first")
        return request_task(session, "batch", request, now=now)

    return start
