"""People of an identity provider on a server: what they may, and who locks them out."""

import base64
from collections.abc import Iterator

import pytest
from fastapi import FastAPI

from app.access import users
from app.access.roles import Role
from app.settings import Settings
from tests.app.access.identity_provider import AUDIENCE, PASSWORD, IdentityProvider, providing
from tests.server.security.conftest import GuardedSite, guarding


@pytest.fixture(scope="module")
def issuer() -> Iterator[IdentityProvider]:
    with providing() as provider:
        provider.claims = {"dr-oidc": {}}
        yield provider


@pytest.fixture
def site(
    guarded_application: FastAPI, settings: Settings, issuer: IdentityProvider
) -> Iterator[GuardedSite]:
    given = Settings(oidc_client_secret="hush")
    with guarding(
        guarded_application,
        settings,
        oidc_issuer=issuer.issuer,
        oidc_audience=AUDIENCE,
        oidc_client_id="caclabel-server",
        oidc_client_secret=given.oidc_client_secret,
    ) as opened:
        yield opened


def status(site: GuardedSite, token: str, path: str = "/quarantine") -> int:
    return site.client.get(path, headers={"Authorization": f"Bearer {token}"}).status_code


def log_in(site: GuardedSite, name: str, password: str) -> tuple[int, str]:
    answer = site.client.post("/auth/token", data={"username": name, "password": password})
    return answer.status_code, str(answer.json().get("access_token"))


def test_a_token_of_the_provider_opens_what_its_role_may(
    site: GuardedSite, issuer: IdentityProvider
) -> None:
    assert status(site, issuer.token()) == 200
    assert status(site, issuer.token(), "/audit") == 403
    assert status(site, issuer.token(exp=1000.0)) == 401
    assert status(site, issuer.token(realm_access={})) == 403


def encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "header",
    [
        "[" * 20_000,
        '{"kid": ' + "[" * 20_000,
        '{"alg": "RS256", "kid": ["rsa"]}',
        '{"alg": "RS256", "kid": {"a": 1}}',
        '{"alg": "RS256", "kid": null}',
        '{"alg": ["RS256"], "kid": "rsa"}',
        '{"alg": "RS256", "kid": "rsa", "crit": ["x"]}',
        '{"alg": "RS256", "kid": "rsa", "b64": false, "crit": ["b64"]}',
        '["RS256"]',
        "7",
        "\ud7ff\u0000",
    ],
)
def test_an_odd_token_is_a_wrong_one(site: GuardedSite, header: str) -> None:
    for payload in ("{}", "[" * 20_000):
        token = f"{encoded(header)}.{encoded(payload)}.{encoded('x' * 256)}"
        assert status(site, token) == 401


def test_local_keys_are_taken_beside_it(site: GuardedSite) -> None:
    assert status(site, site.keys[Role.REVIEWER]) == 200


def test_a_name_and_password_of_the_provider_log_in(site: GuardedSite) -> None:
    code, token = log_in(site, "dr-oidc", PASSWORD)
    assert code == 200
    assert token.startswith("cact_")
    assert status(site, token) == 200
    assert status(site, token, "/audit") == 403
    assert log_in(site, "dr-oidc", "wrong")[0] == 401


def test_a_name_that_has_a_password_here_is_not_asked_for_there(
    site: GuardedSite, issuer: IdentityProvider
) -> None:
    issuer.asked.clear()
    assert log_in(site, "admin", PASSWORD)[0] == 401
    assert not issuer.asked


def test_a_disabled_user_is_locked_out_whoever_vouches(
    site: GuardedSite, issuer: IdentityProvider
) -> None:
    _, token = log_in(site, "dr-oidc", PASSWORD)
    with site.services.database.writing() as session:
        users.add_user(session, "dr-oidc", Role.USER, password_hash="", actor="x", now=1.0)
    assert status(site, token) == 200
    with site.services.database.writing() as session:
        users.disable_user(session, "dr-oidc", actor="x", now=1.0)
    assert status(site, token) == 401
    assert status(site, issuer.token()) == 401
    assert log_in(site, "dr-oidc", PASSWORD)[0] == 401


def test_clients_are_told_the_realm(site: GuardedSite, issuer: IdentityProvider) -> None:
    told = site.client.get("/auth/").json()
    assert told == {"enabled": True, "client_id": "caclabel-server", "realm": issuer.issuer}
