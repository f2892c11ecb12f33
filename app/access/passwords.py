"""Passwords, hashed by argon2id.

Concurrency: hashing takes 64 MiB and a core for some 50 ms, so that no more than a few
threads hash at once; the others wait their turn.
"""

import threading
from typing import Final, Protocol

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from app.errors import InvalidInputError

SHORTEST: Final = 12
"""Fewest characters of a password; length is what counts (NIST SP 800-63B)."""

_LONGEST: Final = 1024
"""More is no password, but work for the server."""

_AT_ONCE: Final = 2

NOBODYS: Final = (
    "$argon2id$v=19$m=65536,t=3,p=4$wl333oIAWPOIuBfhGR58xw"
    "$XHFTuWL/o1tKn20sBotImMHwPIsx1pzeqXFFwg5X1Rc"
)
"""Hash of a random text that nobody kept, to be as slow about users that do not exist."""


class Hasher(Protocol):
    """Keeps passwords as something that nobody can turn back."""

    def hash(self, password: str) -> str:
        """Return what is kept of a password."""

    def verify(self, kept: str, password: str) -> bool:
        """Tell whether a password is the one that was kept; never when ``kept`` is empty."""


class Argon2:
    """The hasher of every deployment, with the parameters of RFC 9106 for little memory."""

    def __init__(self) -> None:
        """Prepare; nothing is hashed yet."""
        self._hasher = PasswordHasher()
        self._places = threading.Semaphore(_AT_ONCE)

    def hash(self, password: str) -> str:
        """Return what is kept of a password."""
        with self._places:
            return self._hasher.hash(password)

    def verify(self, kept: str, password: str) -> bool:
        """Tell whether a password is the one that was kept.

        Without one it takes just as long, so that nobody learns who has a password here.
        """
        try:
            with self._places:
                self._hasher.verify(kept or NOBODYS, password[:_LONGEST])
        except (VerificationError, InvalidHashError):
            return False
        return bool(kept)


def check_password(password: str) -> str:
    """Return a password that may be set.

    Raises:
        InvalidInputError: If it is too short or too long.
    """
    if not SHORTEST <= len(password) <= _LONGEST:
        raise InvalidInputError(
            f"expected a password of {SHORTEST} to {_LONGEST} characters, got {len(password)}"
        )
    return password
