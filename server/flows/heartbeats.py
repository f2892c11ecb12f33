"""Signs that a client works on an image: its requests about it, and those it sends for this."""

from typing import Annotated

from fastapi import Depends, Form, Request

from app.access.identity import acting_name
from app.sampling import leases
from server.dependencies import Now, Services, ServicesDep
from server.wire.options import client_of, read_object


def note_work(services: Services, image_id: str, client_id: str | None, now: float) -> bool:
    """Note that somebody works on an image; tells whether it lies with that client.

    Args:
        services: Services of the process.
        image_id: The image; none of the pool is no error.
        client_id: Who asks; None: whoever has the image.
        now: Time of the request.
    """
    client = None if client_id is None else acting_name(client_id)
    with services.database.writing() as session:
        return leases.note_activity(session, image_id, client, services.settings, now=now)


def _note_request(services: ServicesDep, now: Now, request: Request) -> None:
    """Note a request about the image that its address names."""
    asked = request.query_params
    _note(services, asked.get("image") or asked.get("label") or "", asked.get("client_id"), now)


def _note_inference(
    services: ServicesDep, now: Now, request: Request, params: Annotated[str, Form()] = "{}"
) -> None:
    """Note a request whose client stands among the parameters of its form."""
    given = read_object(params, "params")
    client = client_of(given) if given.get("client_id") else None
    _note(services, request.query_params.get("image", ""), client, now)


def _note(services: Services, image_id: str, client_id: str | None, now: float) -> None:
    with services.database.reading() as session:
        is_worth = bool(image_id) and leases.is_worth_noting(session, image_id, now=now)
    # Most requests end here, so that they wait for no other writer.
    if is_worth:
        note_work(services, image_id, client_id, now)


NotedRequest = Depends(_note_request)
NotedInference = Depends(_note_inference)
