"""The public keys of an identity provider: fetched when needed, kept, and fetched anew.

Concurrency: any thread may ask; one at a time fetches. The others do not wait for it where the
key is there, and not for long where it is not: a provider that hangs must not stop the rest.
"""

import json
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import requests
from jwt import PyJWK, PyJWKSet
from jwt.exceptions import PyJWTError

from app.errors import CredentialsError, ProviderDownError

logger = logging.getLogger(__name__)

Json = dict[str, Any]

_FRESH_S: Final = 600.0
"""Age from which keys are asked for anew, so that withdrawn ones end."""

_PAUSE_S: Final = 30.0
"""Shortest time between two requests: strangers make up names of keys at will."""

_STALE_S: Final = 24 * 3600.0
"""Age up to which keys serve while the provider does not answer."""

_TIMEOUT_S: Final = 10.0

_PATIENCE_S: Final = 2.0
"""How long a thread waits for another one that fetches."""

_LARGEST_BYTES: Final = 1 << 20


class KeyCache:
    """The keys that an address lists, by their names."""

    def __init__(
        self, find_address: Callable[[], str], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Prepare; nothing is fetched yet.

        Args:
            find_address: Tells where the keys are listed; called when they are fetched.
            clock: Time in seconds that never goes back.
        """
        self._find_address = find_address
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: dict[str, PyJWK] = {}
        self._fetched_at = -_STALE_S
        self._asked_at = -_PAUSE_S

    def find(self, key_id: str) -> PyJWK:
        """Return the key of a name.

        Raises:
            CredentialsError: If the provider lists no such key, or cannot be asked.
        """
        is_known = key_id in self._keys
        if not is_known or self._age_s() > _FRESH_S:
            self._refresh(key_id, patience_s=0.0 if is_known else _PATIENCE_S)
        key = self._keys.get(key_id) if self._age_s() <= _STALE_S else None
        if key is None:
            raise CredentialsError("the token is signed with a key that its issuer does not list")
        return key

    def _age_s(self) -> float:
        return self._clock() - self._fetched_at

    def _refresh(self, key_id: str, *, patience_s: float) -> None:
        if not self._lock.acquire(timeout=patience_s):
            return
        try:
            # Another thread may have fetched the key meanwhile.
            is_needed = key_id not in self._keys or self._age_s() > _FRESH_S
            if is_needed and self._clock() - self._asked_at >= _PAUSE_S:
                self._fetch()
        finally:
            self._lock.release()

    def _fetch(self) -> None:
        """Fetch the keys; those of before stay where that fails."""
        self._asked_at = self._clock()
        try:
            listed = PyJWKSet.from_dict(fetch_json(self._find_address()))
        except (
            requests.RequestException,
            PyJWTError,
            ValueError,
            ProviderDownError,
        ) as error:
            logger.warning("cannot fetch the keys of the identity provider: %s", error)
            return
        self._keys = {key.key_id: key for key in listed.keys if key.key_id}
        self._fetched_at = self._clock()


def fetch_json(address: str) -> Json:
    """Fetch a JSON object of the identity provider; no redirect is followed.

    Raises:
        requests.RequestException: If the provider does not answer well.
        ValueError: If the answer is no JSON object, or too large to be one of these.
    """
    with requests.get(address, timeout=_TIMEOUT_S, allow_redirects=False, stream=True) as answer:
        answer.raise_for_status()
        content = answer.raw.read(_LARGEST_BYTES + 1, decode_content=True)
    if answer.status_code != requests.codes.ok or len(content) > _LARGEST_BYTES:
        raise ValueError(f"{address} answered {answer.status_code} and {len(content)} bytes")
    return as_object(json.loads(content))


def as_object(value: object) -> Json:
    """Return a JSON value that is an object.

    Raises:
        ValueError: If it is none.
    """
    if not isinstance(value, dict):
        raise ValueError("expected a JSON object")  # noqa: TRY004 - what came is wrong, not we
    return value
