"""``/`` and ``/docs``: pages for people, which also work without the internet."""

from importlib.metadata import version

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from app import images
from app.intake import refusals
from app.pacs import pool_view
from app.sampling import progress
from server.dependencies import ReadSession, SettingsDep
from server.endpoints import endpoints_by_tag
from server.pages import render

router = APIRouter(tags=["pages"])


@router.get("/", response_class=HTMLResponse)
def index(request: Request, session: ReadSession, settings: SettingsDep) -> str:
    """Tell what this server is and how to connect to it."""
    return render(
        "index.html",
        version=version("caclabel"),
        description=request.app.description,
        counts=images.pool_counts(session),
        refused=len(refusals.refused_segmentations(session)),
        viewable=pool_view.viewable_count(session),
        coverage=progress.coverage(session, settings),
        times=progress.annotation_times(session),
        address=str(request.base_url),
    )


@router.get("/docs", response_class=HTMLResponse)
def docs(request: Request) -> str:
    """List the endpoints."""
    return render("docs.html", groups=endpoints_by_tag(request.app))
