"""One place that turns errors into answers: ``{"detail": "one sentence"}``, always JSON."""

import logging
import time
from collections.abc import Mapping
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException

from app.errors import (
    BusyError,
    CacLabelError,
    ConflictError,
    CredentialsError,
    DamagedFileError,
    InvalidInputError,
    JobFailedError,
    NotFoundError,
    NotReadyError,
    PacsDownError,
    PacsError,
    ProviderDownError,
    StoppingError,
    StorageError,
    StorageFullError,
    TooLittleMemoryError,
)
from app.integrity.damage import note_damage
from app.store.faults import fault_code, storage_error
from app.tracing import request_id_of
from server.log_lines import without_paths
from server.request_ids import REQUEST_ID, REQUEST_ID_HEADER, ROUTE

logger = logging.getLogger(__name__)

_STATUS: Final[Mapping[type[CacLabelError], int]] = {
    InvalidInputError: 422,
    NotFoundError: 404,
    DamagedFileError: 500,
    StorageError: 503,
    StorageFullError: 507,
    TooLittleMemoryError: 503,
    CredentialsError: 401,
    ProviderDownError: 503,
    ConflictError: 409,
    BusyError: 429,
    NotReadyError: 409,
    StoppingError: 503,
    PacsError: 502,
    PacsDownError: 503,
    JobFailedError: 500,
}
"""HTTP status of each branch of the error tree."""

_UNKNOWN_CLIENT: Final = 401


def add_error_handlers(application: FastAPI) -> None:
    """Answer every error, the unforeseen ones included, with one sentence in ``detail``."""
    application.add_exception_handler(CacLabelError, _answer_deliberate)
    application.add_exception_handler(DamagedFileError, _answer_damaged)
    application.add_exception_handler(RequestValidationError, _answer_invalid)
    application.add_exception_handler(HTTPException, _answer_http)
    # The first two: what a full disk or a locked database raise must not end the connection.
    for kind in (OSError, DBAPIError, Exception):
        application.add_exception_handler(kind, _answer_unforeseen)


def status_of(error: CacLabelError) -> int:
    """Return the HTTP status of an error: that of its nearest ancestor in the tree."""
    return next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 500)


def error_answer(status: int, sentence: str) -> JSONResponse:
    """Build the answer for one sentence."""
    return JSONResponse({"detail": sentence}, status_code=status)


async def _answer_deliberate(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, CacLabelError):
        raise error
    answer = error_answer(status_of(error), without_paths(str(error)))
    if answer.status_code == _UNKNOWN_CLIENT:
        answer.headers["WWW-Authenticate"] = "Bearer"
    return answer


def _answer_damaged(request: Request, error: Exception) -> JSONResponse:
    """Tell those who look after the server, too; in a thread, because this takes a transaction."""
    if not isinstance(error, DamagedFileError):
        raise error
    note_damage(request.app.state.services.database, error, now=time.time())
    return error_answer(status_of(error), str(error))


async def _answer_invalid(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    first = error.errors()[0]
    # The first part of the place is "query", "body" or "path"; people know the rest.
    place = ".".join(str(part) for part in first["loc"][1:]) or "request"
    return error_answer(422, f"{place}: {first['msg']}")


async def _answer_http(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    # Form parsing says 400 to everything, also to a disk that was full while an upload came in.
    fault = storage_error(error.__cause__)
    if fault is not None:
        return error_answer(status_of(fault), str(fault))
    answer = error_answer(error.status_code, error.detail)
    answer.headers.update(error.headers or {})
    return answer


async def _answer_unforeseen(request: Request, error: Exception) -> JSONResponse:
    route = request.scope.get(ROUTE, "a request")
    fault = storage_error(error)
    if fault is not None:
        logger.error("%s %s: %s (%s)", request.method, route, fault, fault_code(error))
        return error_answer(status_of(fault), str(fault))
    log_id = request.scope.get(REQUEST_ID) or request_id_of("")
    logger.error("%s: %s %s", log_id, request.method, route, exc_info=error)
    answer = error_answer(500, f"the server failed; its log says why under {log_id}")
    answer.headers[REQUEST_ID_HEADER] = log_id
    return answer
