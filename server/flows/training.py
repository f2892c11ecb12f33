"""Requests for trainings as the clients of this protocol spell them."""

from collections.abc import Callable

from pydantic import JsonValue
from sqlalchemy.orm import Session

from app import datastore
from app.errors import BusyError, InvalidInputError, NotReadyError
from app.settings import Settings
from app.store.tables import JobRow, Json
from server.flows.tasks import request_task, task_of
from server.wire.catalog import MODEL, train_options
from server.wire.options import JsonObject, client_of, read_options


def train_request(settings: Settings, model: str, given: JsonObject) -> Json:
    """Return the request of a training job.

    Raises:
        InvalidInputError: If an option cannot be read.
    """
    options = read_options(train_options(settings), given)
    epochs = options["max_epochs"]
    if not isinstance(epochs, int) or epochs < 0:
        raise InvalidInputError(f"max_epochs: expected 0 or more, got {epochs!r}")
    return {"model": model, "options": options, "client_id": client_of(given)}


def starter(
    settings: Settings, request: Json, *, now: float, enqueue: bool
) -> Callable[[Session], JobRow]:
    """Return what queues a training in a transaction."""

    def start(session: Session) -> JobRow:
        _check_labels(session, settings)
        return request_task(session, "train", request, now=now, enqueue=enqueue)

    return start


def start_every(
    session: Session, settings: Settings, given: JsonObject, *, now: float
) -> dict[str, JsonValue]:
    """Start every trainer; the options come by its name, or flat from scripts.

    A trainer that runs already is no error here: OHIF's button means "be up to date".
    """
    own = given.get(MODEL)
    request = train_request(settings, MODEL, own if isinstance(own, dict) else given)
    _check_labels(session, settings)
    try:
        job = request_task(session, "train", request, now=now)
    except BusyError as error:
        return {MODEL: {"result": None, "detail": str(error)}}
    return {MODEL: {"result": task_of(job).model_dump(), "detail": None}}


def _check_labels(session: Session, settings: Settings) -> None:
    """Refuse at once what the worker would refuse later."""
    labeled = datastore.stats(session).completed
    if labeled < settings.first_training:
        raise NotReadyError(
            f"a training needs at least {settings.first_training} labeled images, there are"
            f" {labeled}; submit labels first"
        )
