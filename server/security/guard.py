"""The guard of one web process: whether people log in, who shows what, how often they ask.

Concurrency: every thread may ask it. What it knows it reads from the database each time, so
that a key that is revoked, or a user who is disabled, is worthless with the next request;
nothing is written for that.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from app.access import logins, mode
from app.access.identity import Identity
from app.access.login_attempts import LoginAttempt
from app.access.passwords import Argon2, Hasher
from app.access.users import user_name
from app.errors import CredentialsError, InvalidInputError, NotFoundError
from app.settings import Settings
from app.store.database import Database
from server.security.limits import RateLimit
from server.security.table import Limit

if TYPE_CHECKING:
    from app.access.oidc import Provider

logger = logging.getLogger(__name__)

Means = Literal["path", "bearer", "cookie"]

_NAME_SHARE: Final = 3
"""A name may be tried more often than one address may try: nobody locks others out alone."""


@dataclass(frozen=True)
class Credential:
    """What a request shows.

    Attributes:
        means: Where it stands in the request.
        text: The key, token or cookie.
    """

    means: Means
    text: str


class Guard:
    """Knows who may come in."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        *,
        hasher: Hasher | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; nothing is read yet, and until ``start`` everybody has to log in."""
        self.settings = settings
        self.is_on = True
        self._database = database
        self._hasher = hasher or Argon2()
        self._provider = _provider_of(settings)
        self._name_limit = RateLimit(_NAME_SHARE * settings.login_rate, clock=clock)
        self._limits: dict[Limit, RateLimit] = {
            "login": RateLimit(settings.login_rate, clock=clock),
            "upload": RateLimit(settings.upload_rate, clock=clock),
            "infer": RateLimit(settings.infer_rate, clock=clock),
        }

    def start(self) -> None:
        """Look whether people have to log in; the database has its tables by now."""
        with self._database.reading() as session:
            self.is_on = mode.is_required(session, self.settings)

    def wait_s(self, limit: Limit, name: str) -> float:
        """Count a request against a rate; returns 0, or how long to wait."""
        return self._limits[limit].wait_s(name)

    def identify(self, credential: Credential) -> Identity | None:
        """Return who shows a credential, or None."""
        now = time.time()
        text = credential.text
        with self._database.reading() as session:
            if credential.means == "cookie":
                return logins.who_has_token(session, text, is_cookie=True, now=now)
            found = logins.who_has_key(session, text, now=now)
            if found is None and credential.means == "bearer":
                found = logins.who_has_token(session, text, is_cookie=False, now=now)
            if found is not None or credential.means == "path" or self._provider is None:
                return found
        return self._check_provided(text)

    def wait_for_name_s(self, name: str) -> float:
        """Count a try to log in under a name; returns 0, or how long to wait."""
        return self._name_limit.wait_s(name.strip().lower())

    def log_in(self, name: str, password: str, *, address: str, is_cookie: bool) -> str:
        """Check a name with its password and return a new token.

        Raises:
            CredentialsError: If they are wrong.
            ProviderDownError: If they are nobody's here, and the provider cannot be asked.
        """
        try:
            known = user_name(name)
        except InvalidInputError:
            known = ""
        now = time.time()
        try:
            identity, is_local = self._check(known, password)
        except CredentialsError:
            logins.note_refused_login(self._database, known, address, now=now)
            raise CredentialsError(logins.REFUSED) from None
        return self._issue(identity, is_cookie=is_cookie, is_local=is_local, now=now)

    def log_in_by_code(
        self,
        attempt: LoginAttempt,
        code: str,
        *,
        named_issuer: str | None,
        come_back_to: str,
        address: str,
    ) -> str:
        """Check who comes back from the page of the provider; returns a token for the browser.

        Raises:
            CredentialsError: If it is nobody who may come in.
            ProviderDownError: If the provider cannot be asked.
        """
        now, name = time.time(), ""
        try:
            found = self.provider.log_in_by_code(
                attempt, code, named_issuer=named_issuer, come_back_to=come_back_to
            )
            name = found.name
            identity = _with_role(self._checked_here(found))
        except CredentialsError as error:
            logger.info("refused who comes from the identity provider: %s", error)
            logins.note_refused_login(self._database, name, address, now=now)
            raise
        return self._issue(identity, is_cookie=True, is_local=False, now=now)

    @property
    def provider(self) -> "Provider":
        """The identity provider at which people log in.

        Raises:
            NotFoundError: If there is none.
        """
        if self._provider is None or not self._provider.takes_logins:
            raise NotFoundError("nobody logs in through an identity provider here")
        return self._provider

    def _issue(self, identity: Identity, *, is_cookie: bool, is_local: bool, now: float) -> str:
        with self._database.writing() as session:
            return logins.issue_token(
                session,
                identity,
                is_cookie=is_cookie,
                is_local=is_local,
                hours=self.settings.token_hours,
                now=now,
            )

    def log_out(self, identity: Identity) -> None:
        """End a login."""
        with self._database.writing() as session:
            logins.end_login(session, identity, now=time.time())

    def _check(self, name: str, password: str) -> tuple[Identity, bool]:
        """Return who logs in, and whether here; the provider is asked for names not known here."""
        try:
            return logins.check_login(self._database, self._hasher, name, password), True
        except CredentialsError:
            if self._provider is None or not self._provider.takes_logins or not name:
                raise
        with self._database.reading() as session:
            if logins.is_local(session, name):
                raise CredentialsError(logins.REFUSED)
        identity = self._provider.log_in(name, password)
        return self._checked_here(identity), False

    def _check_provided(self, token: str) -> Identity | None:
        if self._provider is None:
            return None
        try:
            return self._checked_here(self._provider.check(token))
        except CredentialsError as error:
            logger.info("refused a token: %s", error)
            return None

    def _checked_here(self, identity: Identity) -> Identity:
        """Return somebody of the provider who is not locked out here."""
        with self._database.reading() as session:
            if logins.is_disabled(session, identity.name):
                raise CredentialsError(f"user {identity.name} is disabled")
        return identity


def _with_role(identity: Identity) -> Identity:
    """Return somebody who may do something here."""
    if identity.role is None:
        raise CredentialsError(f"{identity.name} has no role here")
    return identity


def _provider_of(settings: Settings) -> "Provider | None":
    if not settings.oidc_issuer:
        return None
    # Cryptography costs 30 MB and a tenth of a second, which few deployments need.
    from app.access.oidc import Provider

    mode.check_provider(settings)
    return Provider(settings)
