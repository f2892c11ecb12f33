"""Where a viewer's questions are answered: by the PACS, or by this server without one."""

from fastapi import Request, Response

from app.errors import NotFoundError, PacsDownError
from server.dependencies import Services
from server.dicomweb import forwarding, local
from server.dicomweb.paths import Resource

_NOTHING = b"[]"


def retrieve(services: Services, request: Request, resource: Resource) -> Response:
    """Answer a request for reading; while the PACS is down, from the series that are here.

    Raises:
        PacsDownError: If the PACS is down and what is asked for is not here.
        PacsRefusedError: If the PACS does not take our credentials.
        NotFoundError: If there is no such thing.
        InvalidInputError: If a search cannot be understood.
    """
    if services.settings.pacs_url is None:
        return local.answer(services, request, resource)
    try:
        return forwarding.forward(services.settings, request, resource)
    except PacsDownError as down:
        answer = _from_cache(services, request, resource)
        if answer is None:
            raise
        answer.headers["Warning"] = f'299 caclabel "{down}; these are series kept here"'
        return answer


def _from_cache(services: Services, request: Request, resource: Resource) -> Response | None:
    try:
        answer = local.answer(services, request, resource)
    except NotFoundError:
        return None
    # An empty list would look as if the PACS had nothing.
    return None if getattr(answer, "body", b"") == _NOTHING else answer
