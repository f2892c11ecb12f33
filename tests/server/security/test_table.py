"""The table of routes: complete, and obeyed by every route for every role."""

from pathlib import Path

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient

from app.access.roles import Role
from app.settings import Settings
from server.main import create_app
from server.routes import ALL_ROUTERS
from server.security.matching import RouteRules
from server.security.table import ROUTES, Rule
from tests.server.security.conftest import GuardedSite


def filled(path: str) -> str:
    """Return a path with something in the place of each parameter."""
    for name, value in (
        ("{model}", "calcium"),
        ("{strategy}", "first"),
        ("{method}", "nope"),
        ("{root}", "qido"),
        ("{path:path}", "studies"),
        ("{study_uid}", "1.2"),
        ("{version_id}", "77"),
        ("{label_id}", "77"),
        ("{session_id}", "nope"),
    ):
        path = path.replace(name, value)
    assert "{" not in path
    return path


@pytest.fixture(scope="module")
def application() -> FastAPI:
    return create_app(Settings(data=Path("never-used")))


def test_every_route_is_in_the_table_and_nothing_else(application: FastAPI) -> None:
    rules = RouteRules(ALL_ROUTERS, application.routes)
    assert rules.endpoints() == set(ROUTES)


def test_nothing_is_described_that_the_table_does_not_know(application: FastAPI) -> None:
    described = {
        (method.upper(), path)
        for path, operations in application.openapi()["paths"].items()
        for method in operations
    }
    known = {(method, path.replace(":path", "")) for method, path in ROUTES}
    assert described <= known


def test_a_route_without_a_rule_is_noticed() -> None:
    forgotten = APIRouter()

    @forgotten.post("/forgotten")
    def forget() -> None: ...

    assert ("POST", "/forgotten") in RouteRules([forgotten], []).endpoints() - set(ROUTES)


def test_a_route_without_a_rule_is_nobodys(guarded: GuardedSite) -> None:
    application = create_app(guarded.services.settings)
    application.state.services = guarded.services

    @application.get("/forgotten")
    def forget() -> str:
        return "secret"

    with TestClient(application) as client:
        answer = client.get("/forgotten", headers=guarded.as_role(Role.ADMIN))
    assert answer.status_code == 403
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "rule"), [(*route, rule) for route, rule in sorted(ROUTES.items())]
)
def test_a_route_takes_its_role_and_those_above_alone(
    method: str, path: str, rule: Rule, shared_guarded: GuardedSite
) -> None:
    place = filled(path)
    stranger = shared_guarded.client.request(method, place)
    assert (stranger.status_code == 401) == (rule.role is not None)
    if rule.role is None:
        return
    for role in Role:
        answer = shared_guarded.client.request(method, place, headers=shared_guarded.as_role(role))
        assert answer.status_code != 401
        is_refused = answer.status_code == 403 and "required to perform" in answer.text
        # A HEAD answer has no words.
        is_refused = answer.status_code == 403 if method == "HEAD" else is_refused
        assert is_refused != role.includes(rule.role)


@pytest.mark.parametrize(("role", "status"), [(Role.USER, 403), (Role.ANNOTATOR, 404)])
def test_who_only_looks_keeps_no_prediction(
    role: Role, status: int, shared_guarded: GuardedSite
) -> None:
    # There is no such image: an annotator gets as far as that.
    asked = {"params": '{"save_label": true, "label_tag": "mine"}'}
    headers = shared_guarded.as_role(role)
    answer = shared_guarded.client.post("/infer/calcium?image=x", data=asked, headers=headers)
    assert answer.status_code == status, answer.text


@pytest.mark.parametrize(("above", "below"), [*zip([*Role][1:], [*Role][:-1], strict=True)])
def test_a_role_includes_those_below(above: Role, below: Role) -> None:
    assert above.includes(below)
    assert not below.includes(above)
    assert above.includes(above)
