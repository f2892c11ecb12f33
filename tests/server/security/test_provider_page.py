"""Logging in on the page of an identity provider: there, and back."""

import re
from html import unescape
from urllib.parse import urlsplit

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.access import users
from app.access.login_attempts import LIFETIME_S, read_attempt
from app.access.roles import Role
from app.settings import Settings
from server.security.middleware import COOKIE
from tests.app.access.identity_provider import CLIENT, IdentityProvider, parsed
from tests.server.security.conftest import GuardedSite, trusting
from tests.server.security.provider_visits import begin, come_back, is_in, log_in

PAGE = {"Accept": "text/html"}


def test_the_login_page_leads_to_the_provider_and_back_to_the_page(
    site: GuardedSite, issuer: IdentityProvider
) -> None:
    page = site.client.get("/quarantine?x=1&y=2", headers=PAGE)
    [link] = re.findall(r'href="(/login/provider[^"]*)"', page.text)
    assert "Log in with the hospital" in page.text
    assert 'name="password"' in page.text
    away = site.client.get(unescape(link), follow_redirects=False).headers["location"]
    query = parsed(urlsplit(away).query)
    assert away.startswith(f"{issuer.issuer}/authorization?")
    assert query["redirect_uri"] == "http://testserver/login/provider/done"
    assert (query["response_type"], query["code_challenge_method"]) == ("code", "S256")
    answer = come_back(site, issuer.authorize(query))
    assert answer.status_code == 200
    assert "url=/quarantine?x=1&amp;y=2" in answer.text
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert site.client.get("/quarantine").status_code == 200
    assert site.client.get("/audit").status_code == 403
    [row] = site.changes("log in")
    assert (row.actor, row.change["means"]) == ("dr-oidc", "identity provider")


def test_the_secret_of_a_try_is_in_no_address_and_its_cookie_is_kept_from_scripts(
    site: GuardedSite, issuer: IdentityProvider
) -> None:
    answer = site.client.get("/login/provider", follow_redirects=False)
    given = answer.headers["set-cookie"]
    assert "HttpOnly" in given
    assert "SameSite=lax" in given
    assert f"Max-Age={LIFETIME_S}" in given
    text = re.findall(r"=([^;]+);", given)[0]
    query = parsed(urlsplit(answer.headers["location"]).query)
    attempt = read_attempt(text, query["state"])
    assert attempt is not None
    shown = answer.headers["location"]
    assert attempt.secret not in shown
    assert attempt.verifier not in shown
    assert query["code_challenge"] == attempt.challenge
    ended = come_back(site, issuer.authorize(query))
    assert "Max-Age=0" in ended.headers["set-cookie"]


def test_the_cookie_of_the_login_is_the_same_as_by_password(
    site: GuardedSite, issuer: IdentityProvider
) -> None:
    cookies = log_in(site, issuer).headers.get_list("set-cookie")
    [given] = [cookie for cookie in cookies if cookie.startswith(f"{COOKIE}=cacs_")]
    assert "HttpOnly" in given
    assert "samesite=strict" in given.lower()


def test_a_neighbour_of_the_domain_can_plant_no_cookie_under_https(
    site: GuardedSite, issuer: IdentityProvider
) -> None:
    with TestClient(site.client.app, base_url="https://testserver") as client:
        answer = client.get("/login/provider", follow_redirects=False)
        assert answer.headers["set-cookie"].startswith("__Host-caclabel_login_")
        back = issuer.authorize(parsed(urlsplit(answer.headers["location"]).query))
        assert back.startswith("https://testserver/login/provider/done?")
        client.get(back)
        assert "__Host-caclabel_session" in client.cookies
        assert client.get("/info/").status_code == 200
        planted = {"Cookie": f"{COOKIE}={client.cookies['__Host-caclabel_session']}"}
        client.cookies.clear()
        assert client.get("/info/", headers=planted).status_code == 401


class TestProviderDown:
    def test_nobody_begins_and_the_page_says_so(
        self, site: GuardedSite, issuer: IdentityProvider
    ) -> None:
        issuer.is_up = False
        answer = site.client.get("/login/provider", follow_redirects=False)
        assert answer.status_code == 503
        assert "The identity provider does not answer; try again later" in answer.text
        assert 'name="password"' in answer.text

    def test_nobody_comes_back_and_the_page_says_so(
        self, site: GuardedSite, issuer: IdentityProvider
    ) -> None:
        back = issuer.authorize(parsed(urlsplit(begin(site)).query))
        issuer.is_up = False
        answer = come_back(site, back)
        assert answer.status_code == 503
        assert "does not answer" in answer.text
        assert not is_in(site)

    def test_a_password_is_not_called_wrong(
        self, site: GuardedSite, issuer: IdentityProvider
    ) -> None:
        issuer.is_up = False
        form = {"username": "dr-oidc", "password": "right or wrong"}
        assert site.client.post("/auth/token", data=form).status_code == 503
        answer = site.client.post("/login", data=form)
        assert answer.status_code == 503

    def test_it_is_not_asked_again_and_again(
        self, site: GuardedSite, issuer: IdentityProvider
    ) -> None:
        issuer.is_up = False
        issuer.asked.clear()
        for _ in range(5):
            site.client.get("/login/provider", follow_redirects=False)
        assert sum(issuer.asked.values()) == 1


class TestLifetime:
    def test_a_new_role_holds_for_the_logins_of_before(
        self, site: GuardedSite, issuer: IdentityProvider
    ) -> None:
        log_in(site, issuer)
        assert site.client.get("/quarantine").status_code == 200
        first = dict(site.client.cookies)
        issuer.access_claims["realm_access"] = {"roles": ["monailabel-user"]}
        site.client.cookies.clear()
        log_in(site, issuer)
        site.client.cookies.clear()
        site.client.cookies.update(first)
        assert site.client.get("/info/").status_code == 200
        assert site.client.get("/quarantine").status_code == 403

    def test_logging_somebody_out_ends_every_login_of_theirs(
        self, site: GuardedSite, issuer: IdentityProvider
    ) -> None:
        log_in(site, issuer)
        assert is_in(site)
        with site.services.database.writing() as session:
            assert users.end_logins(session, "dr-oidc", actor="boss", now=1.0) == 1
        assert not is_in(site)
        [row] = site.changes("end logins")
        assert (row.actor, row.subject, row.change) == ("boss", "dr-oidc", {"logins": 1})

    def test_disabling_ends_a_login_and_refuses_the_next(
        self, site: GuardedSite, issuer: IdentityProvider
    ) -> None:
        log_in(site, issuer)
        with site.services.database.writing() as session:
            users.add_user(session, "dr-oidc", Role.USER, password_hash="", actor="x", now=1.0)
            users.disable_user(session, "dr-oidc", actor="x", now=1.0)
        assert not is_in(site)
        assert log_in(site, issuer).status_code == 401
        assert [row.subject for row in site.changes("refuse login")] == ["dr-oidc"]

    def test_logging_out_offers_the_end_of_the_login_there(
        self, site: GuardedSite, issuer: IdentityProvider
    ) -> None:
        log_in(site, issuer)
        out = site.client.post("/logout", headers={"Origin": "http://testserver"})
        [link] = re.findall(r'href="([^"]*/end_session[^"]*)"', out.text)
        assert unescape(link).startswith(f"{issuer.issuer}/end_session?")
        query = parsed(urlsplit(unescape(link)).query)
        assert query == {
            "client_id": CLIENT,
            "post_logout_redirect_uri": "http://testserver/login",
        }
        assert not is_in(site)


def test_roles_of_the_id_token_are_enough(site: GuardedSite, issuer: IdentityProvider) -> None:
    issuer.id_claims["realm_access"] = {"roles": ["monailabel-admin"]}
    issuer.access_claims["aud"] = "another-program"
    assert log_in(site, issuer).status_code == 200
    assert site.client.get("/audit").status_code == 200


@pytest.mark.parametrize("ways", [None, ["client_secret_basic"], ["client_secret_post", "x"]])
def test_the_secret_goes_where_the_provider_wants_it(
    site: GuardedSite, issuer: IdentityProvider, ways: list[str] | None
) -> None:
    if ways is not None:
        issuer.abilities["token_endpoint_auth_methods_supported"] = ways
    assert log_in(site, issuer).status_code == 200
    [(form, header)] = issuer.sent
    is_posted = "client_secret_post" in (ways or [])
    assert ("client_secret" in form) == is_posted
    assert header.startswith("Basic ") != is_posted


def test_a_server_with_a_public_address_sends_people_back_there(
    guarded_application: FastAPI, settings: Settings, issuer: IdentityProvider
) -> None:
    public = "https://cac.hospital.example"
    with trusting(guarded_application, settings, issuer, public_url=public + "/") as site:
        query = parsed(urlsplit(begin(site)).query)
        assert query["redirect_uri"] == f"{public}/login/provider/done"
        page = site.client.get("/login").text
    assert f'href="{public}/login/provider?next=%2F"' in page


def test_where_there_is_no_provider_nobody_is_led_to_one(guarded: GuardedSite) -> None:
    assert guarded.client.get("/login/provider").status_code == 404
    assert guarded.client.get("/login/provider/done?state=a&code=b").status_code == 400
    assert "/login/provider" not in guarded.client.get("/login?left=true").text
