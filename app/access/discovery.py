"""What an identity provider says about itself: its addresses, and what it can do.

Concurrency: any thread may ask. One at a time fetches; the others wait for it a moment, and
after a failure nobody asks for a while, so that a provider that hangs holds few threads.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

import requests

from app.access.jwks import Json, fetch_json
from app.access.mode import is_private
from app.errors import ProviderDownError

logger = logging.getLogger(__name__)

_PAUSE_S: Final = 5.0
"""Shortest time between two tries."""

_PATIENCE_S: Final = 2.0
"""How long a thread waits for another one that fetches."""

DOWN: Final = "the identity provider does not answer; try again later, or ask who runs it"


class Discovery:
    """The description of an identity provider, fetched when it is needed and kept."""

    def __init__(self, issuer: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare; nobody is asked yet.

        Args:
            issuer: Address of the provider, which must call itself the same.
            clock: Time in seconds that never goes back.
        """
        self._issuer = issuer
        self._clock = clock
        self._lock = threading.Lock()
        self._description: Json | None = None
        self._failed_at = -_PAUSE_S

    def description(self) -> Mapping[str, object]:
        """Return what the provider says about itself.

        Raises:
            ProviderDownError: If it does not answer, or describes another issuer.
        """
        if self._description is not None:
            return self._description
        if not self._lock.acquire(timeout=_PATIENCE_S):
            raise ProviderDownError(DOWN)
        try:
            if self._description is None:
                self._description = self._fetch()
            return self._description
        finally:
            self._lock.release()

    def address(self, what: str) -> str:
        """Return an address that the provider names.

        Raises:
            ProviderDownError: If it does not answer, or names none that is private.
        """
        address = self.description().get(what)
        if not isinstance(address, str) or not is_private(address):
            logger.warning("the identity provider names no https address as %s", what)
            raise ProviderDownError(f"the identity provider names no https address as {what}")
        return address

    def _fetch(self) -> Json:
        if self._clock() - self._failed_at < _PAUSE_S:
            raise ProviderDownError(DOWN)
        place = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
        try:
            described = _of_issuer(fetch_json(place), self._issuer)
        except (requests.RequestException, ValueError) as error:
            self._failed_at = self._clock()
            logger.warning("cannot ask the identity provider: %s", error)
            raise ProviderDownError(DOWN) from None
        return described


def _of_issuer(described: Json, issuer: str) -> Json:
    if described.get("issuer") != issuer:
        raise ValueError(f"{issuer} describes another issuer")
    return described
