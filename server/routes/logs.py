"""``/logs/``: the last lines of the server's and the worker's log."""

from typing import Annotated, Final

from fastapi import APIRouter, Query, Response

from server import logs
from server.dependencies import SettingsDep

router = APIRouter(prefix="/logs", tags=["admin"])

_MOST_LINES: Final = 1_000_000
"""Largest number of lines that is read; more is a slip."""


@router.get("", response_class=Response)
def show_logs(
    settings: SettingsDep,
    lines: Annotated[int, Query(ge=0, le=_MOST_LINES)] = 300,
    html: bool = True,
    text: bool = False,
    refresh: int = 0,
) -> Response:
    """Show the last lines of the log, all with ``lines=0``; as a page, or as plain text."""
    tail = logs.tail(settings, lines)
    is_page = html and not text
    return logs.page(tail, refresh_s=refresh) if is_page else logs.plain(tail)


@router.get("/gpu", response_class=Response)
def show_gpu() -> Response:
    """Show the state of the graphics cards; 404 on a machine without."""
    return logs.plain(logs.gpu_state())
