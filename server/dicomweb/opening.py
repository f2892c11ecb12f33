"""Which requests of a viewer mean that somebody opens a series."""

from typing import Final

from app.clicks.opening import prepare_series
from server.dependencies import Services
from server.dicomweb.paths import Resource

_HEADERS: Final = "metadata"


def note_opened(services: Services, resource: Resource, *, now: float) -> None:
    """Have an image made ready for clicks when a viewer asks for the headers of its series."""
    if resource.series_uid and not resource.instance_uid and resource.rest == _HEADERS:
        prepare_series(services.database, services.settings, resource.series_uid, now=now)
