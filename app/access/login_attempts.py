"""One try of a browser to log in at the identity provider, from the link to the way back.

All of it lies in a cookie of that browser; the server keeps nothing, so that strangers cannot
fill its memory with tries. The cookie is not signed: whoever could write it could have got one
from here as well. What counts is that it stays in one browser, and that nothing in an address
tells its secret: ``state``, ``nonce`` and verifier are made of it by a hash.
"""

import base64
import hmac
import re
import secrets
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

LIFETIME_S: Final = 600
"""How long somebody may take to log in at the provider."""

_SECRET_BYTES: Final = 32

_LONGEST_PLACE: Final = 1000
"""Cookies hold 4 KB; a longer place is forgotten."""

_NAME_CHARACTERS: Final = 12

_FORM: Final = re.compile(r"([A-Za-z0-9_-]{43})\.([0-9]{1,12})\.([A-Za-z0-9_-]*)")


@dataclass(frozen=True)
class LoginAttempt:
    """A try to log in.

    Attributes:
        secret: Random text that this browser alone has.
        started_at: When it began.
        place: Where the browser wants to go, as it said.
    """

    secret: str
    started_at: int
    place: str

    @property
    def state(self) -> str:
        """Text that the provider sends back, and that nobody else could know."""
        return _derive(self.secret, "state")

    @property
    def nonce(self) -> str:
        """Text that stands in the token, so that one of another login is worthless."""
        return _derive(self.secret, "nonce")

    @property
    def verifier(self) -> str:
        """Text without which the code is worthless (RFC 7636)."""
        return _derive(self.secret, "verifier")

    @property
    def challenge(self) -> str:
        """What the provider is told of the verifier at first (``S256``)."""
        return _encode(sha256(self.verifier.encode()).digest())

    @property
    def name(self) -> str:
        """What tells it from tries in other windows of the same browser."""
        return name_of(self.state)

    def is_over(self, now: float) -> bool:
        """Tell whether it took too long."""
        return not 0 <= now - self.started_at <= LIFETIME_S

    def to_text(self) -> str:
        """Return all of it as a text for a cookie."""
        return f"{self.secret}.{self.started_at}.{_encode(self.place.encode())}"


def begin_attempt(place: str, *, now: float) -> LoginAttempt:
    """Begin a try."""
    kept = place if len(place) <= _LONGEST_PLACE else "/"
    return LoginAttempt(secrets.token_urlsafe(_SECRET_BYTES), int(now), kept)


def read_attempt(text: str, state: str) -> LoginAttempt | None:
    """Return the try that a cookie holds; None unless ``state`` is of the same one."""
    found = _FORM.fullmatch(text)
    if found is None:
        return None
    attempt = LoginAttempt(found[1], int(found[2]), _decode(found[3]))
    return attempt if hmac.compare_digest(attempt.state.encode(), state.encode()) else None


def name_of(state: str) -> str:
    """Return the name of the try that a ``state`` is said to be of, in plain characters."""
    return re.sub(r"[^A-Za-z0-9]", "", state)[:_NAME_CHARACTERS]


def _derive(secret: str, purpose: str) -> str:
    return _encode(hmac.digest(secret.encode(), purpose.encode(), "sha256"))


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _decode(text: str) -> str:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except ValueError:
        return "/"
