"""The web application: routes, errors and what every request passes through."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from anyio import to_thread
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from app.model_versions import discard_stale
from app.settings import Settings, load_settings
from app.store.files import make_private
from server.dependencies import THREADS, Services, open_services
from server.errors import add_error_handlers
from server.figures import Figures
from server.middleware import SlashMiddleware, UploadLimitMiddleware
from server.request_log import RequestLogMiddleware
from server.routes import ALL_ROUTERS
from server.security.headers import HeadersMiddleware
from server.security.matching import RouteRules
from server.security.middleware import AccessMiddleware

DESCRIPTION = "Active-learning annotation server for coronary calcium CT; for research use only."


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the web application.

    Args:
        settings: Settings of the deployment; read from the environment when None.

    Returns:
        The application; its database is opened and migrated when it starts.
    """
    services = open_services(settings or load_settings())
    application = FastAPI(
        title="caclabel",
        description=DESCRIPTION,
        version=version("caclabel"),
        lifespan=_lifespan,
        # Swagger UI and ReDoc load from a CDN; `server.routes.index` has a page that does not.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # Shell scripts send JSON without naming its type.
        strict_content_type=False,
    )
    application.state.services = services
    application.state.figures = Figures(lambda: application.state.services)
    for router in ALL_ROUTERS:
        application.include_router(router)
    add_error_handlers(application)
    _add_middleware(application, services.settings)
    return application


def _add_middleware(application: FastAPI, settings: Settings) -> None:
    application.add_middleware(UploadLimitMiddleware)
    rules = RouteRules(ALL_ROUTERS, application.routes)
    application.add_middleware(AccessMiddleware, rules=rules, settings=settings)
    application.add_middleware(SlashMiddleware)
    if settings.cors_origins:
        application.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["Content-Disposition", "X-Request-ID"],
        )
    application.add_middleware(HeadersMiddleware, is_shared=bool(settings.cors_origins))
    figures: Figures = application.state.figures
    application.add_middleware(RequestLogMiddleware, rules=rules, figures=figures.requests)


@asynccontextmanager
async def _lifespan(application: FastAPI) -> AsyncIterator[None]:
    services: Services = application.state.services
    to_thread.current_default_thread_limiter().total_tokens = THREADS
    make_private(services.settings.data)
    services.database.migrate()
    services.guard.start()
    with services.database.writing() as session:
        discard_stale(session, services.settings, now=time.time())
    yield
    services.database.close()
