"""Browsers: the page to log in, the cookie, and pages of strangers that would use it."""

import re

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.settings import Settings
from server.main import create_app
from server.security.middleware import COOKIE
from server.security.origins import is_known_host
from tests.server.security.conftest import PASSWORD, GuardedSite, guarding

PAGE = {"Accept": "text/html,application/xhtml+xml"}

OWN = {"Origin": "http://testserver"}


def log_in(site: GuardedSite, name: str = "annotator", place: str = "/") -> str:
    """Log in by the page; returns where it leads to."""
    form = {"username": name, "password": PASSWORD, "next": place}
    answer = site.client.post("/login", data=form, headers=OWN, follow_redirects=False)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def test_a_page_asks_to_log_in_and_remembers_where_to(guarded: GuardedSite) -> None:
    answer = guarded.client.get("/ohif/viewer?StudyInstanceUIDs=1.2", headers=PAGE)
    assert answer.status_code == 401
    assert 'action="/login"' in answer.text
    assert 'value="/ohif/viewer?StudyInstanceUIDs=1.2"' in answer.text
    assert "content-security-policy" in answer.headers


def test_a_login_by_the_page_opens_the_viewer_and_its_images(guarded: GuardedSite) -> None:
    assert guarded.client.get("/proxy/dicom/qido/studies").status_code == 401
    assert log_in(guarded, place="/ohif/") == "/ohif/"
    for place in ("/", "/info/", "/ohif/images.json", "/proxy/dicom/qido/studies"):
        assert guarded.client.get(place).status_code == 200


def test_the_cookie_is_kept_from_scripts_and_other_sites(guarded: GuardedSite) -> None:
    form = {"username": "user", "password": PASSWORD}
    answer = guarded.client.post("/login", data=form, follow_redirects=False)
    given = answer.headers["set-cookie"]
    assert given.startswith(f"{COOKIE}=cacs_")
    assert "HttpOnly" in given
    assert "samesite=strict" in given.lower()
    assert "Path=/" in given
    assert "Secure" not in given


def test_the_cookie_stays_on_https_where_it_came_by_it(guarded: GuardedSite) -> None:
    client = TestClient(guarded.client.app, base_url="https://testserver")
    form = {"username": "user", "password": PASSWORD}
    answer = client.post("/login", data=form, follow_redirects=False)
    assert "Secure" in answer.headers["set-cookie"]


@pytest.mark.parametrize(
    "place", ["//evil.example", "/\\evil.example", "https://evil.example", "javascript:alert(1)"]
)
def test_a_login_leads_nowhere_else(guarded: GuardedSite, place: str) -> None:
    assert log_in(guarded, place=place) == "/"


def test_a_wrong_password_shows_the_page_again(guarded: GuardedSite) -> None:
    form = {"username": "<b>user", "password": "wrong"}
    answer = guarded.client.post("/login", data=form)
    assert answer.status_code == 401
    assert "is wrong" in answer.text
    assert "<b>user" not in answer.text
    assert COOKIE not in guarded.client.cookies


def test_a_cookie_is_no_bearer_token_nor_the_other_way_round(guarded: GuardedSite) -> None:
    log_in(guarded)
    cookie = guarded.client.cookies[COOKIE]
    guarded.client.cookies.clear()
    answer = guarded.client.get("/info/", headers={"Authorization": f"Bearer {cookie}"})
    assert answer.status_code == 401
    form = {"username": "user", "password": PASSWORD}
    token = guarded.client.post("/auth/token", data=form).json()["access_token"]
    answer = guarded.client.get("/info/", headers={"Cookie": f"{COOKIE}={token}"})
    assert answer.status_code == 401


def test_logging_out_ends_the_login_itself(guarded: GuardedSite) -> None:
    log_in(guarded)
    cookie = guarded.client.cookies[COOKIE]
    answer = guarded.client.post("/logout", headers=OWN, follow_redirects=False)
    assert answer.status_code == 303
    assert COOKIE not in guarded.client.cookies
    answer = guarded.client.get("/info/", headers={"Cookie": f"{COOKIE}={cookie}"})
    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://testserver"}, 422),
        ({"Sec-Fetch-Site": "same-origin"}, 422),
        ({"Origin": "null", "Sec-Fetch-Site": "same-origin"}, 422),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://testserver:81"}, 403),
        ({"Origin": "http://testserver.evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({}, 403),
    ],
)
def test_only_pages_of_this_server_change_anything_by_the_cookie(
    guarded: GuardedSite, headers: dict[str, str], status: int
) -> None:
    log_in(guarded)
    # 422: the body is missing, so the request came through.
    answer = guarded.client.put("/datastore/label?image=a", headers=headers)
    assert answer.status_code == status


def test_pages_of_others_log_nobody_in(guarded: GuardedSite) -> None:
    form = {"username": "user", "password": PASSWORD}
    answer = guarded.client.post("/login", data=form, headers={"Origin": "http://evil.example"})
    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 422),
        ({"Origin": "http://testserver"}, 422),
        ({"Origin": "http://evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
def test_pages_of_others_change_nothing_where_nobody_logs_in(
    shared_client: TestClient, headers: dict[str, str], status: int
) -> None:
    assert shared_client.put("/datastore/label?image=a", headers=headers).status_code == status


def test_a_configured_origin_may_use_the_cookie_but_no_other(settings: Settings) -> None:
    allowed = settings.model_copy(update={"cors_origins": ("http://viewer.example", "*")})
    application = create_app(allowed.model_copy(update={"access": "on"}))
    with guarding(application, allowed) as site:
        log_in(site)
        for origin, status in (("http://viewer.example", 422), ("http://other.example", 403)):
            answer = site.client.put("/datastore/label?image=a", headers={"Origin": origin})
            assert answer.status_code == status


@pytest.mark.parametrize(
    ("address", "is_answered"), [("127.0.0.1", True), ("::1", True), ("192.168.1.7", False)]
)
def test_a_server_without_logins_answers_its_own_machine_only(
    settings: Settings, address: str, is_answered: bool
) -> None:
    application = create_app(settings)
    with TestClient(application, client=(address, 1234)) as client:
        answer = client.get("/info/")
    assert (answer.status_code == 200) == is_answered
    assert (answer.status_code == 403) != is_answered


@pytest.mark.parametrize(
    ("host", "allowed", "is_known"),
    [
        ("127.0.0.1:8000", (), True),
        ("[::1]:8000", (), True),
        ("10.1.2.3", (), True),
        ("cac-server:8000", (), True),
        ("cac.hospital.example", (), True),
        ("CAC.hospital.example.:8000", (), True),
        ("evil.example", (), False),
        ("evil.example:8000", (), False),
        ("127.0.0.1.evil.example", (), False),
        ("", (), False),
        ("[", (), False),
        ("scans.example", ("scans.example",), True),
        ("evil.example", ("scans.example",), False),
        ("cac-server", ("scans.example",), False),
        ("10.1.2.3", ("scans.example",), False),
        ("localhost:8000", ("scans.example",), True),
    ],
)
def test_a_name_that_strangers_may_have_is_not_known(
    host: str, allowed: tuple[str, ...], is_known: bool
) -> None:
    own = frozenset({"cac.hospital.example"})
    assert is_known_host(host, allowed, own) == is_known


def test_a_page_that_has_its_own_name_lead_here_is_refused(
    guarded: GuardedSite, shared_client: TestClient
) -> None:
    for client in (guarded.client, shared_client):
        answer = client.get("/auth/", headers={"Host": "evil.example"})
        assert answer.status_code == 400
        assert "CACLABEL_ALLOWED_HOSTS" in answer.json()["detail"]


@pytest.mark.parametrize("place", ["/", "/auth/", "/nowhere", "/login"])
def test_every_answer_has_its_headers(guarded: GuardedSite, place: str) -> None:
    answer = guarded.client.get(place, headers=PAGE)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "SAMEORIGIN"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers["cache-control"] == "no-store"
    if answer.headers["content-type"].startswith("text/html"):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert not re.search(r"script-src", policy)


def test_the_viewer_keeps_the_policy_it_needs(settings: Settings) -> None:
    folder = settings.data / "ohif"
    folder.mkdir()
    (folder / "index.html").write_text("<html></html>")
    (folder / "codec.wasm").write_bytes(b"\0asm")
    application: FastAPI = create_app(settings.model_copy(update={"ohif": folder}))
    with TestClient(application) as client:
        page, codec = client.get("/ohif/"), client.get("/ohif/codec.wasm")
    assert "'unsafe-eval' blob:" in page.headers["content-security-policy"]
    assert "content-security-policy" not in codec.headers
    assert codec.headers["content-type"] == "application/wasm"
