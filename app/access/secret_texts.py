"""Keys and tokens: random texts that are shown once and kept as a hash.

Each has a public id, by which it is found, and 256 random bits, whose SHA-256 is compared in
constant time. Guessing them is hopeless at any speed, so the slow hash that passwords need
would only make each request slow; docs/adr has the reasoning.
"""

import hmac
import re
import secrets
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Literal

Kind = Literal["key", "token", "cookie"]

_PREFIXES: Final[dict[Kind, str]] = {"key": "cack", "token": "cact", "cookie": "cacs"}

_ID_BYTES: Final = 6
_SECRET_BYTES: Final = 32

_FORM: Final = re.compile(r"(cac[kts])_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")

SECRET_PATTERN: Final = re.compile(r"cac[kts]_[0-9a-f]{12}_[A-Za-z0-9_-]+")
"""Finds these texts among others, also where one was cut off."""


@dataclass(frozen=True)
class SecretText:
    """A new key or token.

    Attributes:
        id: Its public part, which lists may show.
        text: The whole, for its owner alone.
        sha256: What is kept of it.
    """

    id: str
    text: str
    sha256: str


def make_secret(kind: Kind) -> SecretText:
    """Draw a new key or token."""
    public = secrets.token_hex(_ID_BYTES)
    text = f"{_PREFIXES[kind]}_{public}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    return SecretText(public, text, _digest(text))


def id_of(text: str, kind: Kind) -> str | None:
    """Return the public id in a text; None if it is no key or token of this kind."""
    found = _FORM.fullmatch(text)
    return found[2] if found and found[1] == _PREFIXES[kind] else None


def is_secret(text: str, kept_sha256: str | None) -> bool:
    """Tell whether a text is the one that was kept; takes as long when none was."""
    is_same = hmac.compare_digest(_digest(text), kept_sha256 or "0" * 64)
    return is_same and kept_sha256 is not None


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()
