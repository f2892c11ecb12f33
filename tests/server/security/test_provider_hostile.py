"""Who else would like to come in by the page of an identity provider."""

import time
from urllib.parse import urlsplit

import pytest

from app.access.login_attempts import LIFETIME_S, LoginAttempt, begin_attempt, read_attempt
from tests.app.access.identity_provider import AUDIENCE, CLIENT, IdentityProvider, parsed
from tests.server.security.conftest import GuardedSite
from tests.server.security.provider_visits import begin, come_back, is_in, log_in


def test_a_code_that_was_not_asked_for_in_this_browser_logs_nobody_in(
    site: GuardedSite, issuer: IdentityProvider
) -> None:
    mine = issuer.authorize(parsed(urlsplit(begin(site)).query))
    # Login CSRF: the page of a stranger leads the victim's browser to the way back.
    site.client.cookies.clear()
    issuer.sent.clear()
    answer = come_back(site, mine)
    assert answer.status_code == 400
    assert "another browser" in answer.text
    assert not issuer.sent
    assert not is_in(site)


def test_a_wrong_state_logs_nobody_in(site: GuardedSite, issuer: IdentityProvider) -> None:
    back = issuer.authorize(parsed(urlsplit(begin(site)).query))
    other = begin_attempt("/", now=time.time()).state
    state = parsed(urlsplit(back).query)["state"]
    for wrong in (other, "", state[:-1], state + "A", "\u00e4", "../" + state):
        code = parsed(urlsplit(back).query)["code"]
        answer = site.client.get("/login/provider/done", params={"state": wrong, "code": code})
        assert answer.status_code == 400
    assert not is_in(site)


def test_the_way_back_works_once(site: GuardedSite, issuer: IdentityProvider) -> None:
    back = issuer.authorize(parsed(urlsplit(begin(site)).query))
    kept = dict(site.client.cookies)
    assert come_back(site, back).status_code == 200
    site.client.cookies.clear()
    assert come_back(site, back).status_code == 400
    # Though the cookie was copied, the code is worthless.
    site.client.cookies.update(kept)
    assert come_back(site, back).status_code == 401
    assert not is_in(site)


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"nonce": 7},
        {"aud": AUDIENCE},
        {"aud": [CLIENT, "other"], "azp": "other"},
        {"iss": "http://evil.example/realms/hospital"},
        {"exp": 1000.0},
        {"sub": "f:2"},
        {"preferred_username": None},
    ],
)
def test_an_id_token_that_is_not_of_this_login_logs_nobody_in(
    site: GuardedSite, issuer: IdentityProvider, claims: dict[str, object]
) -> None:
    issuer.id_claims.update(claims)
    answer = log_in(site, issuer)
    assert answer.status_code == 401
    assert "did not vouch for you" in answer.text
    assert not is_in(site)
    assert [row.subject for row in site.changes("refuse login")] == ["unknown name"]


def test_two_tokens_that_name_nobody_are_not_of_the_same_person(
    site: GuardedSite, issuer: IdentityProvider
) -> None:
    issuer.id_claims["sub"] = issuer.access_claims["sub"] = None
    assert log_in(site, issuer).status_code == 401


@pytest.mark.parametrize(
    "claims", [{"aud": "another-program"}, {"exp": 1000.0}, {"realm_access": {"roles": ["x"]}}]
)
def test_an_access_token_without_our_roles_logs_nobody_in(
    site: GuardedSite, issuer: IdentityProvider, claims: dict[str, object]
) -> None:
    issuer.access_claims.update(claims)
    assert log_in(site, issuer).status_code == 401
    assert not is_in(site)


@pytest.mark.parametrize(
    ("named", "must_name", "status"),
    [
        ("own", False, 200),
        ("own", True, 200),
        (None, False, 200),
        (None, True, 401),
        ("http://evil.example/realms/hospital", False, 401),
    ],
)
def test_a_code_of_another_issuer_is_not_handed_to_ours(
    site: GuardedSite,
    issuer: IdentityProvider,
    named: str | None,
    must_name: bool,
    status: int,
) -> None:
    issuer.abilities["authorization_response_iss_parameter_supported"] = must_name
    query = parsed(urlsplit(issuer.authorize(parsed(urlsplit(begin(site)).query))).query)
    query["iss"] = issuer.issuer if named == "own" else named
    issuer.sent.clear()
    sent = {name: text for name, text in query.items() if text}
    answer = site.client.get("/login/provider/done", params=sent)
    assert answer.status_code == status
    assert bool(issuer.sent) == (status == 200)


@pytest.mark.parametrize(
    "place", ["//evil.example", "/\\evil.example", "https://evil.example", "/a\nb", "x" * 2000]
)
def test_the_way_back_leads_nowhere_else(
    site: GuardedSite, issuer: IdentityProvider, place: str
) -> None:
    answer = log_in(site, issuer, place)
    assert 'content="0; url=/"' in answer.text
    assert "evil" not in answer.text


def test_a_place_in_a_cookie_that_was_written_by_hand_is_no_way_out(
    site: GuardedSite, issuer: IdentityProvider
) -> None:
    attempt = LoginAttempt("A" * 43, int(time.time()), "//evil.example")
    query = parsed(urlsplit(begin(site)).query)
    query |= {"state": attempt.state, "nonce": attempt.nonce}
    query["code_challenge"] = attempt.challenge
    site.client.cookies.set(f"caclabel_login_{attempt.name}", attempt.to_text())
    answer = come_back(site, issuer.authorize(query))
    assert answer.status_code == 200
    assert "evil" not in answer.text


@pytest.mark.parametrize(("age_s", "status"), [(0, 200), (LIFETIME_S + 5, 400), (-60, 400)])
def test_a_try_ends_after_a_while(
    site: GuardedSite, issuer: IdentityProvider, age_s: int, status: int
) -> None:
    attempt = LoginAttempt("A" * 43, int(time.time()) - age_s, "/")
    query = parsed(urlsplit(begin(site)).query)
    query |= {"state": attempt.state, "nonce": attempt.nonce}
    query["code_challenge"] = attempt.challenge
    site.client.cookies.set(f"caclabel_login_{attempt.name}", attempt.to_text())
    assert come_back(site, issuer.authorize(query)).status_code == status


@pytest.mark.parametrize("text", ["", "a", "a.b.c", "A" * 43 + ".1.%00", "A" * 43 + ".1._w"])
def test_a_cookie_that_is_none_is_no_try(text: str) -> None:
    state = LoginAttempt("A" * 43, 1, "/").state
    found = read_attempt(text, state)
    assert found is None or found.place == "/"


def test_what_the_provider_says_about_a_failure_is_not_repeated(site: GuardedSite) -> None:
    state = parsed(urlsplit(begin(site)).query)["state"]
    sent = {"state": state, "error": "access_denied", "error_description": "<b>call 555</b>"}
    answer = site.client.get("/login/provider/done", params=sent)
    assert answer.status_code == 401
    assert "555" not in answer.text
