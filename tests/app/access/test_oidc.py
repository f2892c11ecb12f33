"""Tokens of an identity provider: which are taken, and how its keys are kept."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.access.oidc import Provider
from app.access.roles import Role
from app.errors import CredentialsError, ProviderDownError
from app.settings import Settings
from tests.app.access.identity_provider import (
    AUDIENCE,
    PASSWORD,
    IdentityProvider,
    make_key,
    providing,
)

CERTS = "/realms/hospital/certs"

DAY_S = 24 * 3600.0


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def shared_issuer() -> Iterator[IdentityProvider]:
    with providing() as issuer:
        yield issuer


@pytest.fixture
def issuer(shared_issuer: IdentityProvider) -> Iterator[IdentityProvider]:
    keys = dict(shared_issuer.keys)
    shared_issuer.asked.clear()
    yield shared_issuer
    shared_issuer.keys = keys
    shared_issuer.is_up = True


def trusting(issuer: IdentityProvider, clock: Clock | None = None, **changes: object) -> Provider:
    """Return what checks the tokens of an issuer."""
    settings = Settings(oidc_issuer=issuer.issuer, oidc_audience=AUDIENCE)
    return Provider(settings.model_copy(update=changes), clock=clock or Clock())


def encoded(part: object) -> str:
    content = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


@pytest.mark.parametrize("key_id", ["rsa", "ec"])
def test_a_token_of_the_issuer_is_its_users(issuer: IdentityProvider, key_id: str) -> None:
    found = trusting(issuer).check(issuer.token(key_id))
    assert (found.name, found.role) == ("dr-oidc", Role.REVIEWER)


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "another-program"},
        {"aud": None},
        {"aud": ["another-program", "account"]},
        {"iss": "https://evil.example/realms/hospital"},
        {"iss": None},
        {"exp": 1000.0},
        {"exp": None},
        {"nbf": 4e9},
        {"preferred_username": None},
        {"preferred_username": "../../etc"},
        {"preferred_username": ["dr-a"]},
    ],
)
def test_a_token_with_a_wrong_claim_is_refused(
    issuer: IdentityProvider, changes: dict[str, Any]
) -> None:
    with pytest.raises(CredentialsError):
        trusting(issuer).check(issuer.token(**changes))


def test_one_audience_among_others_is_enough(issuer: IdentityProvider) -> None:
    assert trusting(issuer).check(issuer.token(aud=["account", AUDIENCE])).name == "dr-oidc"


@pytest.mark.parametrize(("late_s", "is_taken"), [(20, True), (40, False)])
def test_clocks_may_differ_by_half_a_minute(
    issuer: IdentityProvider, late_s: float, is_taken: bool
) -> None:
    token = issuer.token(exp=time.time() - late_s)
    if is_taken:
        assert trusting(issuer).check(token).name == "dr-oidc"
    else:
        with pytest.raises(CredentialsError, match="expired"):
            trusting(issuer).check(token)


def test_an_unsigned_token_is_refused(issuer: IdentityProvider) -> None:
    for algorithm in ("none", "None", "RS256"):
        header = {"alg": algorithm, "typ": "JWT", "kid": "rsa"}
        token = f"{encoded(header)}.{encoded(issuer.token_claims())}."
        with pytest.raises(CredentialsError):
            trusting(issuer).check(token)


def test_a_public_key_is_no_password(issuer: IdentityProvider) -> None:
    _, key = issuer.keys["rsa"]
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signed = f"{encoded({'alg': 'HS256', 'kid': 'rsa'})}.{encoded(issuer.token_claims())}"
    signature = hmac.new(public, signed.encode(), hashlib.sha256).digest()
    with pytest.raises(CredentialsError):
        trusting(issuer).check(f"{signed}.{encoded(signature)}")


def test_a_key_of_somebody_else_under_a_known_name_is_refused(issuer: IdentityProvider) -> None:
    foreign = make_key("RS256")
    assert isinstance(foreign, rsa.RSAPrivateKey)
    claims = issuer.token_claims()
    token = jwt.encode(claims, foreign, algorithm="RS256", headers={"kid": "rsa"})
    with pytest.raises(CredentialsError, match="Signature verification failed"):
        trusting(issuer).check(token)


def test_a_token_brings_no_key_of_its_own(issuer: IdentityProvider) -> None:
    foreign = make_key("ES256")
    assert isinstance(foreign, ec.EllipticCurvePrivateKey)
    own = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(foreign.public_key()))
    headers = {"kid": "mine", "jwk": own, "jku": "http://evil.example/keys"}
    token = jwt.encode(issuer.token_claims(), foreign, algorithm="ES256", headers=headers)
    with pytest.raises(CredentialsError, match="does not list"):
        trusting(issuer).check(token)


@pytest.mark.parametrize("token", ["", "a", "a.b", "a.b.c", "eyJhbGciOiJub25lIn0.e30."])
def test_what_is_no_token_is_refused(issuer: IdentityProvider, token: str) -> None:
    with pytest.raises(CredentialsError):
        trusting(issuer).check(token)


class TestRoles:
    @pytest.mark.parametrize(
        ("place", "claims", "role"),
        [
            ("realm_access#roles", {}, Role.REVIEWER),
            (
                "realm_access#roles",
                {"realm_access": {"roles": ["monailabel-user", "monailabel-admin"]}},
                Role.ADMIN,
            ),
            ("realm_access#roles", {"realm_access": {"roles": ["admin"]}}, None),
            ("realm_access#roles", {"realm_access": "roles"}, None),
            ("realm_access#roles", {"realm_access": {"roles": [1, None, {}]}}, None),
            ("nothing#here", {}, None),
            ("groups", {"groups": ["monailabel-annotator"]}, Role.ANNOTATOR),
            ("https://a.example/role", {"https://a.example/role": "monailabel-user"}, Role.USER),
            (
                "resource_access#cac#roles",
                {"resource_access": {"cac": {"roles": ["monailabel-user"]}}},
                Role.USER,
            ),
        ],
    )
    def test_are_read_where_the_settings_say(
        self, issuer: IdentityProvider, place: str, claims: dict[str, Any], role: Role | None
    ) -> None:
        provider = trusting(issuer, oidc_roles_claim=place)
        assert provider.check(issuer.token(**claims)).role is role

    def test_have_names_of_their_own(self, issuer: IdentityProvider) -> None:
        provider = trusting(issuer, oidc_roles={"radiology": "admin"})
        token = issuer.token(realm_access={"roles": ["radiology"]})
        assert provider.check(token).role is Role.ADMIN


class TestKeys:
    def test_are_asked_for_once(self, issuer: IdentityProvider) -> None:
        provider = trusting(issuer)
        for _ in range(5):
            provider.check(issuer.token("rsa"))
            provider.check(issuer.token("ec"))
        assert issuer.asked[CERTS] == 1

    def test_may_change(self, issuer: IdentityProvider) -> None:
        clock = Clock()
        provider = trusting(issuer, clock)
        old = issuer.token("rsa")
        provider.check(old)
        issuer.keys = {"new": ("RS256", make_key("RS256"))}
        clock.now += 31.0
        assert provider.check(issuer.token("new")).name == "dr-oidc"
        # The one that was withdrawn is worthless with the same look.
        with pytest.raises(CredentialsError, match="does not list"):
            provider.check(old)

    def test_that_were_withdrawn_end_though_nobody_comes_with_a_new_one(
        self, issuer: IdentityProvider
    ) -> None:
        clock = Clock()
        provider = trusting(issuer, clock)
        old = issuer.token("rsa")
        provider.check(old)
        del issuer.keys["rsa"]
        clock.now += 601.0
        with pytest.raises(CredentialsError, match="does not list"):
            provider.check(old)

    def test_that_strangers_make_up_do_not_bother_the_issuer(
        self, issuer: IdentityProvider
    ) -> None:
        clock = Clock()
        provider = trusting(issuer, clock)
        for number in range(50):
            headers = {"kid": f"made-up-{number}"}
            token = jwt.encode(issuer.token_claims(), "x" * 32, algorithm="HS256", headers=headers)
            with pytest.raises(CredentialsError):
                provider.check(token)
            clock.now += 1.0
        # 50 seconds, and a pause of 30 between two looks.
        assert issuer.asked[CERTS] == 2

    def test_serve_for_a_day_while_the_issuer_is_away(self, issuer: IdentityProvider) -> None:
        clock = Clock()
        provider = trusting(issuer, clock)
        provider.check(issuer.token())
        issuer.is_up = False
        clock.now = DAY_S - 60
        assert provider.check(issuer.token()).name == "dr-oidc"
        clock.now = DAY_S + 60
        with pytest.raises(CredentialsError):
            provider.check(issuer.token())
        issuer.is_up = True
        clock.now += 31.0
        assert provider.check(issuer.token()).name == "dr-oidc"

    def test_of_an_issuer_that_calls_itself_otherwise_are_not_asked_for(
        self, issuer: IdentityProvider
    ) -> None:
        provider = trusting(issuer, oidc_issuer=issuer.issuer + "/")
        with pytest.raises(CredentialsError):
            provider.check(issuer.token(iss=issuer.issuer + "/"))
        assert issuer.asked[CERTS] == 0


class TestPasswords:
    @pytest.fixture
    def provider(self, issuer: IdentityProvider) -> Provider:
        issuer.claims = {"dr-oidc": {}, "dr-other": {"aud": "another-program"}}
        settings = Settings(
            oidc_issuer=issuer.issuer,
            oidc_audience=AUDIENCE,
            oidc_client_id="caclabel-server",
            oidc_client_secret="hush",
        )
        return Provider(settings)

    def test_are_tried_at_the_issuer(self, provider: Provider) -> None:
        found = provider.log_in("dr-oidc", PASSWORD)
        assert (found.name, found.role) == ("dr-oidc", Role.REVIEWER)

    @pytest.mark.parametrize(
        ("name", "password"),
        [("dr-oidc", "wrong"), ("nobody", PASSWORD), ("dr-other", PASSWORD)],
    )
    def test_that_are_wrong_or_for_others_are_refused(
        self, provider: Provider, name: str, password: str
    ) -> None:
        with pytest.raises(CredentialsError):
            provider.log_in(name, password)

    def test_cannot_be_tried_while_the_issuer_is_away(
        self, provider: Provider, issuer: IdentityProvider
    ) -> None:
        issuer.is_up = False
        with pytest.raises(ProviderDownError, match="does not answer"):
            provider.log_in("dr-oidc", PASSWORD)
