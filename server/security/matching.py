"""Which rule of the table a request falls under: found as the application finds its route."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from fastapi import APIRouter
from starlette.routing import Match, Route
from starlette.types import Scope

from server.security.table import ROUTES, Rule


class RouteRules:
    """The rules of the application's routes, in the order in which it looks for a route."""

    def __init__(self, routers: Iterable[APIRouter], own: Sequence[object]) -> None:
        """Collect the routes.

        Args:
            routers: Those that the application includes, in this order.
            own: What the application has by itself, which it looks at first; may grow.
        """
        self._own: Final = own
        self._included: Final = tuple(
            route for router in routers for route in router.routes if isinstance(route, Route)
        )

    def endpoints(self) -> frozenset[tuple[str, str]]:
        """Return method and path of every route, one pair for each method."""
        return frozenset(
            (method, route.path) for route in self._routes() for method in route.methods or ()
        )

    def is_route(self, scope: Scope) -> bool:
        """Tell whether the application has a route for a request."""
        return self._find(scope) is not None

    def rule(self, scope: Scope) -> Rule | None:
        """Return the rule for a request; None where there is no route, or no rule for it."""
        found = self._find(scope)
        return ROUTES.get((scope["method"], found.path)) if found is not None else None

    def template(self, scope: Scope) -> str | None:
        """Return the path of a request's route as it is declared; None where there is none."""
        trimmed = {**scope, "path": scope["path"].rstrip("/") or "/"}
        found = self._find(trimmed)
        return found.path if found is not None else None

    def _find(self, scope: Scope) -> Route | None:
        return next((r for r in self._routes() if r.matches(scope)[0] is Match.FULL), None)

    def _routes(self) -> Iterator[Route]:
        yield from (route for route in self._own if isinstance(route, Route))
        yield from self._included
