"""Tokens of an identity provider (OpenID Connect, such as Keycloak), and logins through it.

The provider is asked for its addresses and keys when the first token comes, so that a server
starts without it. Only tokens of its issuer, for our audience, signed by one of its keys with
an algorithm of two keys are taken; which algorithm a token asks for decides nothing.
"""

import hmac
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote_plus, urlencode

import jwt
import requests
from jwt.exceptions import PyJWTError

from app.access.discovery import DOWN, Discovery
from app.access.identity import Identity
from app.access.jwks import Json, KeyCache, as_object
from app.access.login_attempts import LoginAttempt
from app.access.logins import REFUSED
from app.access.mode import client_secret
from app.access.roles import Role
from app.access.users import user_name
from app.errors import CredentialsError, InvalidInputError, ProviderDownError
from app.settings import Settings

logger = logging.getLogger(__name__)

_ALGORITHMS: Final = ("RS256", "ES256")

_LEEWAY_S: Final = 30.0
"""How far the clocks of the two machines may differ."""

_TIMEOUT_S: Final = 10.0

_DEPTH: Final = "#"
"""Goes one level deeper in the name of a claim, as in the settings of MONAI Label."""

_SCOPE: Final = "openid profile"
"""With ``profile`` a token has the claim of the user name."""

_FIRST_SERVER_ERROR: Final = 500


class Provider:
    """An identity provider."""

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare; nobody is asked yet.

        Args:
            settings: Settings of the deployment, checked by ``app.access.mode.check_provider``.
            clock: Time in seconds that never goes back, for the age of the keys.
        """
        self._settings = settings
        self._issuer = settings.oidc_issuer
        self._client_id = settings.oidc_client_id
        self._secret = client_secret(settings)
        self._discovery = Discovery(self._issuer, clock=clock)
        self._keys = KeyCache(lambda: self._discovery.address("jwks_uri"), clock=clock)

    def check(self, token: str) -> Identity:
        """Return whose token it is.

        Raises:
            CredentialsError: If it is not valid here; the reason is for logs, not for clients.
        """
        claims = self._claims(token, self._settings.oidc_audience)
        return self._identity(claims, self._role(claims))

    def log_in(self, name: str, password: str) -> Identity:
        """Ask the provider for a token with a name and password, as 3D Slicer's dialog needs.

        Raises:
            CredentialsError: If the provider refuses them.
            ProviderDownError: If it cannot be asked.
        """
        form = {"grant_type": "password", "username": name, "password": password}
        body = self._ask_for_tokens({**form, "scope": _SCOPE})
        return self.check(_token_in(body, "access_token"))

    def login_address(self, attempt: LoginAttempt, *, come_back_to: str) -> str:
        """Return the address at the provider where a browser begins to log in.

        Raises:
            ProviderDownError: If the provider cannot be asked for it.
        """
        query = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": come_back_to,
            "scope": _SCOPE,
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": attempt.challenge,
            "code_challenge_method": "S256",
        }
        return _with_query(self._discovery.address("authorization_endpoint"), query)

    def log_in_by_code(
        self, attempt: LoginAttempt, code: str, *, named_issuer: str | None, come_back_to: str
    ) -> Identity:
        """Return who came back from the provider with a code.

        The name is the ID token's. So are the roles where it has any; those of the access
        token count where it has none, as with Keycloak unless it is told otherwise.

        Args:
            attempt: The try of the same browser.
            code: What the provider gave it.
            named_issuer: Who says to have answered; None: nobody said.
            come_back_to: The same as for ``login_address``.

        Raises:
            CredentialsError: If the code is worthless, or a token is not of this login.
            ProviderDownError: If the provider cannot be asked.
        """
        self._check_issuer(named_issuer)
        body = self._ask_for_tokens(
            {
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": come_back_to,
                "code_verifier": attempt.verifier,
            }
        )
        claims = self._claims(_token_in(body, "id_token"), self._client_id)
        self._check_id_claims(claims, attempt)
        role = self._role(claims)
        if role is None:
            access = self._claims(_token_in(body, "access_token"), self._settings.oidc_audience)
            if not claims.get("sub") or access.get("sub") != claims.get("sub"):
                raise CredentialsError("the two tokens are of different people")
            role = self._role(access)
        return self._identity(claims, role)

    def logout_address(self, *, come_back_to: str) -> str:
        """Return the address at the provider where a browser ends its login there.

        Raises:
            ProviderDownError: If the provider cannot be asked for it, or has none.
        """
        query = {"client_id": self._client_id, "post_logout_redirect_uri": come_back_to}
        return _with_query(self._discovery.address("end_session_endpoint"), query)

    @property
    def takes_logins(self) -> bool:
        """Whether people may log in there, by its own page or with a name and password."""
        return bool(self._client_id)

    def _ask_for_tokens(self, form: Mapping[str, str]) -> Json:
        """Ask the provider for tokens; an empty object is a refusal."""
        address = self._discovery.address("token_endpoint")
        sent = {**form, "client_id": self._client_id}
        authorization = None
        if self._secret and self._wants_secret_in_header():
            # Both are encoded before they are put together (RFC 6749, 2.3.1).
            authorization = (quote_plus(self._client_id), quote_plus(self._secret))
        elif self._secret:
            sent["client_secret"] = self._secret
        try:
            answer = requests.post(
                address,
                data=sent,
                auth=authorization,
                timeout=_TIMEOUT_S,
                allow_redirects=False,
            )
            body = as_object(answer.json()) if answer.status_code == requests.codes.ok else {}
        except (requests.RequestException, ValueError) as error:
            logger.warning("the identity provider gives no token: %s", type(error).__name__)
            raise ProviderDownError(DOWN) from None
        if answer.status_code >= _FIRST_SERVER_ERROR:
            logger.warning("the identity provider answers %d", answer.status_code)
            raise ProviderDownError(DOWN)
        return body

    def _wants_secret_in_header(self) -> bool:
        ways = self._discovery.description().get("token_endpoint_auth_methods_supported")
        # Without a list the header is the one way that a provider must know.
        return not isinstance(ways, list) or "client_secret_post" not in ways

    def _check_issuer(self, named: str | None) -> None:
        """Refuse a code that another provider gave out (RFC 9207)."""
        must_name = self._discovery.description().get(
            "authorization_response_iss_parameter_supported"
        )
        if named != self._issuer and (named is not None or must_name is True):
            raise CredentialsError("the code is of another issuer")

    def _check_id_claims(self, claims: Mapping[str, Any], attempt: LoginAttempt) -> None:
        nonce = claims.get("nonce")
        if not isinstance(nonce, str) or not hmac.compare_digest(
            nonce.encode(), attempt.nonce.encode()
        ):
            raise CredentialsError("the ID token is not of this login")
        azp = claims.get("azp")
        if azp is not None and azp != self._client_id:
            raise CredentialsError("the ID token was made for another program")

    def _claims(self, token: str, audience: str) -> Mapping[str, Any]:
        """Return what a token says, once all of it was checked."""
        try:
            key_id = jwt.get_unverified_header(token).get("kid", "")
            key = self._keys.find(key_id)
            if key.algorithm_name not in _ALGORITHMS:
                raise CredentialsError(f"its key is for {key.algorithm_name}")
            claims: Json = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                audience=audience,
                issuer=self._issuer,
                leeway=_LEEWAY_S,
                options={"require": ["exp", "iss", "aud"]},
            )
        except PyJWTError as error:
            raise CredentialsError(f"the token is not valid here: {error}") from None
        return claims

    def _identity(self, claims: Mapping[str, object], role: Role | None) -> Identity:
        name = claims.get(self._settings.oidc_name_claim)
        try:
            known = user_name(name) if isinstance(name, str) else None
        except InvalidInputError:
            known = None
        if known is None:
            raise CredentialsError(
                f"the token has no user name in {self._settings.oidc_name_claim}"
            )
        return Identity(known, role, "identity provider")

    def _role(self, claims: Mapping[str, object]) -> Role | None:
        """Return the highest of the roles in a token, None where it has none of ours."""
        found: object = claims
        for step in self._settings.oidc_roles_claim.split(_DEPTH):
            found = found.get(step) if isinstance(found, Mapping) else None
        given = [found] if isinstance(found, str) else found
        names = given if isinstance(given, list) else []
        called = self._settings.oidc_roles
        roles = {Role(called[name]) for name in names if isinstance(name, str) and name in called}
        return next((role for role in reversed(Role) if role in roles), None)


def _token_in(body: Mapping[str, object], name: str) -> str:
    token = body.get(name)
    if not isinstance(token, str):
        raise CredentialsError(REFUSED)
    return token


def _with_query(address: str, query: Mapping[str, str]) -> str:
    """Add to an address; a provider may name one that has a query of its own."""
    return f"{address}{'&' if '?' in address else '?'}{urlencode(query)}"
