"""``/metrics``: counts and times for Prometheus."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from server.figures import Figures

router = APIRouter(prefix="/metrics", tags=["admin"])


@router.get("", response_class=PlainTextResponse)
def metrics(request: Request) -> Response:
    """Tell how the server is doing, in the text format of Prometheus."""
    figures: Figures = request.app.state.figures
    return Response(figures.text(), media_type=CONTENT_TYPE_PLAIN_0_0_4)
