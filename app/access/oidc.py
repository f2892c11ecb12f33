"""Tokens of an identity provider (OpenID Connect, such as Keycloak), and logins through it.

The provider is asked for its addresses and keys when the first token comes, so that a server
starts without it. Only tokens of its issuer, for our audience, signed by one of its keys with
an algorithm of two keys are taken; which algorithm a token asks for decides nothing.
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import jwt
import requests
from jwt.exceptions import PyJWTError

from app.access.identity import Identity
from app.access.jwks import KeyCache, as_object, fetch_json
from app.access.logins import REFUSED
from app.access.mode import is_private
from app.access.roles import Role
from app.access.users import user_name
from app.errors import CredentialsError, InvalidInputError
from app.settings import Settings

Json = dict[str, Any]

_ALGORITHMS: Final = ("RS256", "ES256")

_LEEWAY_S: Final = 30.0
"""How far the clocks of the two machines may differ."""

_TIMEOUT_S: Final = 10.0

_DEPTH: Final = "#"
"""Goes one level deeper in the name of a claim, as in the settings of MONAI Label."""


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
        self._lock = threading.Lock()
        self._description: Json | None = None
        self._keys = KeyCache(lambda: self._address("jwks_uri"), clock=clock)

    def check(self, token: str) -> Identity:
        """Return whose token it is.

        Raises:
            CredentialsError: If it is not valid here; the reason is for logs, not for clients.
        """
        try:
            key_id = jwt.get_unverified_header(token).get("kid", "")
            key = self._keys.find(key_id)
            if key.algorithm_name not in _ALGORITHMS:
                raise CredentialsError(f"its key is for {key.algorithm_name}")
            claims = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                audience=self._settings.oidc_audience,
                issuer=self._issuer,
                leeway=_LEEWAY_S,
                options={"require": ["exp", "iss", "aud"]},
            )
        except PyJWTError as error:
            raise CredentialsError(f"the token is not valid here: {error}") from None
        return self._identity(claims)

    def log_in(self, name: str, password: str) -> Identity:
        """Ask the provider for a token with a name and password, as 3D Slicer's dialog needs.

        Raises:
            CredentialsError: If the provider refuses them, or cannot be asked.
        """
        form = {
            "grant_type": "password",
            "client_id": self._settings.oidc_client_id,
            "client_secret": self._settings.oidc_client_secret.get_secret_value(),
            "username": name,
            "password": password,
            "scope": "openid",
        }
        sent = {field: text for field, text in form.items() if text}
        try:
            answer = requests.post(
                self._address("token_endpoint"),
                data=sent,
                timeout=_TIMEOUT_S,
                allow_redirects=False,
            )
            body = as_object(answer.json()) if answer.status_code == requests.codes.ok else {}
        except (requests.RequestException, ValueError):
            raise CredentialsError("the identity provider does not answer") from None
        token = body.get("access_token")
        if not isinstance(token, str):
            raise CredentialsError(REFUSED)
        return self.check(token)

    @property
    def takes_passwords(self) -> bool:
        """Whether names and passwords may be tried at the provider."""
        return bool(self._settings.oidc_client_id)

    def _identity(self, claims: Mapping[str, object]) -> Identity:
        name = claims.get(self._settings.oidc_name_claim)
        try:
            known = user_name(name) if isinstance(name, str) else None
        except InvalidInputError:
            known = None
        if known is None:
            raise CredentialsError(
                f"the token has no user name in {self._settings.oidc_name_claim}"
            )
        return Identity(known, self._role(claims), "identity provider")

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

    def _address(self, what: str) -> str:
        """Return an address that the provider's description names.

        Raises:
            requests.RequestException: If the provider does not answer.
            ValueError: If the description is not of this issuer, or lacks the address.
        """
        with self._lock:
            if self._description is None:
                place = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
                described = fetch_json(place)
                if described.get("issuer") != self._issuer:
                    raise ValueError(f"{place} describes another issuer")
                self._description = described
            address = self._description.get(what)
        if not isinstance(address, str) or not is_private(address):
            raise ValueError(f"the identity provider names no https address as {what}")
        return address
