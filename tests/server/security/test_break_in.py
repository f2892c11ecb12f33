"""Ways in that others have left open: spelled paths, verbs, names, headers, and planted logins."""

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from app.access.roles import Role
from app.settings import Settings
from server.main import create_app
from server.security.middleware import COOKIE
from tests.server.security.conftest import PASSWORD, GuardedSite, guarding

SECRET_PATHS = (
    "/audit", "/audit/", "/audit//", "/%61udit", "/audit%2f", "/AUDIT", "/audit;x",
    "/audit%20", "/audit%3b", "/./audit", "/auth/../audit", "/auth/%2e%2e/audit", "/auth;/audit",
    "/auth/token/../../audit", "/login/%2e%2e/audit", "/health/live/../../audit", "/k//audit",
    "/k/x/audit", "/k/../audit", "/k/k/k/audit", "/auth%2f..%2faudit", "/audit?next=/auth/",
    "/ohif/..%2faudit", "/ohif/%2e%2e/audit", "/proxy/dicom/qido/..%2f..%2f..%2faudit",
)  # fmt: skip

OVERRIDES = (
    {"X-HTTP-Method-Override": "DELETE"},
    {"X-HTTP-Method": "DELETE"},
    {"X-Method-Override": "DELETE"},
    {"X-Original-URL": "/auth/"},
    {"X-Rewrite-URL": "/auth/"},
    {"X-Forwarded-For": "127.0.0.1"},
    {"X-Forwarded-Host": "localhost"},
    {"X-Real-IP": "127.0.0.1"},
    {"Forwarded": "for=127.0.0.1;host=localhost"},
    {"X-Forwarded-Prefix": "/auth"},
)


@pytest.mark.parametrize("path", SECRET_PATHS)
def test_no_spelling_of_a_path_opens_it(shared_guarded: GuardedSite, path: str) -> None:
    for headers in ({}, shared_guarded.as_role(Role.USER), shared_guarded.as_role(Role.REVIEWER)):
        answer = shared_guarded.client.get(path, headers=headers)
        # Below /ohif everything else is a page of the viewer itself.
        assert answer.status_code in {401, 403, 404} or path.startswith("/ohif/")
        assert "add key" not in answer.text


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PATCH", "TRACE", "PROPFIND", "X"])
def test_no_verb_opens_a_path(shared_guarded: GuardedSite, method: str) -> None:
    for path in ("/audit", "/train/", "/datastore/"):
        stranger = shared_guarded.client.request(method, path)
        assert stranger.status_code in {400, 401, 405}
        headers = shared_guarded.as_role(Role.USER)
        answer = shared_guarded.client.request(method, path, headers=headers)
        assert answer.status_code in {400, 403, 405}
        assert "add key" not in answer.text


@pytest.mark.parametrize("headers", OVERRIDES, ids=lambda headers: next(iter(headers)))
def test_no_header_makes_another_request_of_it(
    shared_guarded: GuardedSite, headers: dict[str, str]
) -> None:
    client = shared_guarded.client
    assert client.get("/audit", headers=headers).status_code == 401
    user = shared_guarded.as_role(Role.USER)
    assert client.get("/audit", headers={**headers, **user}).status_code == 403
    # There is no training: with a DELETE it would be refused instead.
    assert client.get("/train/", headers={**headers, **user}).status_code == 404


@pytest.mark.parametrize(
    "host",
    [
        "evil@127.0.0.1", "127.0.0.1/evil", "127.0.0.1?evil", "127.0.0.1#evil", "127.0.0.1:evil",
        "127.0.0.1, evil.example", "localhost\\evil", "[::1]evil", "127.0.0.1:123456", " ", "%31",
    ],
)  # fmt: skip
def test_a_host_of_which_another_address_could_be_made_is_not_known(
    shared_guarded: GuardedSite, host: str
) -> None:
    assert shared_guarded.client.get("/auth/", headers={"Host": host}).status_code == 400


def test_two_names_of_a_host_are_none(shared_guarded: GuardedSite) -> None:
    hosts = [("Host", "localhost"), ("Host", "evil.example")]
    for headers in (hosts, hosts[::-1]):
        assert shared_guarded.client.get("/auth/", headers=headers).status_code == 400


def test_of_two_credentials_the_lesser_does_not_get_the_greater(
    shared_guarded: GuardedSite,
) -> None:
    user, admin = (shared_guarded.keys[role] for role in (Role.USER, Role.ADMIN))
    path = f"/k/{user}/audit"
    greater = {"Authorization": f"Bearer {admin}"}
    assert shared_guarded.client.get(path, headers=greater).status_code == 403
    assert shared_guarded.client.get(f"/k/{user}/k/{admin}/audit").status_code == 404
    answer = shared_guarded.client.get("/audit", headers={"Cookie": f"{COOKIE}={admin}"})
    assert answer.status_code == 401


@pytest.mark.parametrize("spelled", ["/%6b/{key}/info", "/k/{key}%2finfo", "/k%2f{key}/info"])
def test_a_key_that_would_stay_in_the_path_opens_nothing(
    shared_guarded: GuardedSite, spelled: str
) -> None:
    path = spelled.format(key=shared_guarded.keys[Role.ADMIN])
    assert shared_guarded.client.get(path).status_code == 401


def test_no_page_tells_an_address_with_a_key_to_anybody(shared_guarded: GuardedSite) -> None:
    key = shared_guarded.keys[Role.ADMIN]
    for path in ("", "/", "/docs", "/logs", "/login", "/nowhere", "/info/"):
        answer = shared_guarded.client.get(f"/k/{key}{path}", headers={"Accept": "text/html"})
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert key not in answer.text + str(answer.headers)


@pytest.mark.parametrize(
    "path", ["/proxy/dicom/qido/studies", "/datastore/?output=all", "/info/", "/audit", "/nowhere"]
)
def test_nothing_about_patients_is_kept_by_a_browser(
    shared_guarded: GuardedSite, path: str
) -> None:
    answer = shared_guarded.client.get(path, headers=shared_guarded.as_role(Role.ADMIN))
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "SAMEORIGIN"


def test_other_protocols_are_refused(shared_guarded: GuardedSite) -> None:
    headers = shared_guarded.as_role(Role.ADMIN)
    with (
        pytest.raises(WebSocketDisconnect),
        shared_guarded.client.websocket_connect("/info/", headers=headers),
    ):
        pass


def test_a_login_never_goes_on_under_a_cookie_that_was_there_before(
    guarded: GuardedSite,
) -> None:
    form = {"username": "user", "password": PASSWORD}
    own = {"Origin": "http://testserver"}
    guarded.client.post("/login", data=form, headers=own)
    planted = guarded.client.cookies[COOKIE]
    form["username"] = "admin"
    guarded.client.post("/login", data=form, headers=own)
    assert guarded.client.cookies[COOKIE] != planted
    assert guarded.client.get("/audit").status_code == 200
    guarded.client.cookies.clear()
    answer = guarded.client.get("/audit", headers={"Cookie": f"{COOKIE}={planted}"})
    assert answer.status_code == 403


def test_no_way_round_the_rate_of_logins(guarded_application: FastAPI, settings: Settings) -> None:
    form = {"username": "admin", "password": "wrong"}
    with guarding(guarded_application, settings, login_rate=2) as site:
        for _ in range(2):
            assert site.client.post("/auth/token", data=form).status_code == 401
        for path in ("/auth/token", "/auth/token/", "/login", "/login/", "/auth/%74oken"):
            for headers in OVERRIDES:
                answer = site.client.post(path, data=form, headers=headers)
                assert answer.status_code == 429, (path, headers)
        # The rate of the user counts where somebody is known.
        root = f"/k/{site.keys[Role.USER]}"
        codes = [site.client.post(f"{root}/auth/token", data=form).status_code for _ in range(3)]
        assert codes[-1] == 429


PREFLIGHT = {"Access-Control-Request-Method": "PUT", "Origin": "http://evil.example"}


class TestOtherOrigins:
    def test_are_allowed_nothing_by_default(self, shared_guarded: GuardedSite) -> None:
        for headers in (PREFLIGHT, {**PREFLIGHT, "Origin": "null"}):
            answer = shared_guarded.client.options("/datastore/label", headers=headers)
            assert answer.status_code == 401
            assert not any(name.startswith("access-control") for name in answer.headers)

    @pytest.mark.parametrize("allowed", ["http://viewer.example", "*"])
    def test_are_never_allowed_the_cookie(self, settings: Settings, allowed: str) -> None:
        chosen = settings.model_copy(update={"cors_origins": (allowed,), "access": "on"})
        with guarding(create_app(chosen), chosen) as site:
            answers = [
                site.client.options("/datastore/label", headers=PREFLIGHT),
                site.client.get("/auth/", headers={"Origin": "http://evil.example"}),
            ]
        for answer in answers:
            assert "access-control-allow-credentials" not in answer.headers
            shown = answer.headers.get("access-control-allow-origin", "")
            assert shown == ("*" if allowed == "*" else "")


def test_the_open_server_is_not_opened_by_a_name_of_a_stranger(
    shared_client: TestClient,
) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example", "evil@localhost"):
        assert shared_client.get("/info/", headers={"Host": host}).status_code == 400
