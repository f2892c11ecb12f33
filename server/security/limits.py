"""How often somebody may ask.

Concurrency: any thread may ask; the lock is held for a few operations. Counted in the memory
of the web process, of which there is one.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

_MINUTE_S: Final = 60.0

_ROUNDING_S: Final = 1e-6
"""Sums of shares may be off by so much."""

_MOST_NAMES: Final = 10_000
"""Who asked longest ago is forgotten beyond these, so that strangers cannot fill the memory."""

_HOUSEHOLD_BITS: Final = 64
"""An IPv6 host may take any address that begins like its own."""


class RateLimit:
    """A number of requests a minute for each name, which may come all at once.

    Each request moves the time at which the name has used up nothing by its share of a minute;
    one that would move it more than a minute ahead is refused (the generic cell rate algorithm).
    """

    def __init__(self, per_minute: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin to count.

        Args:
            per_minute: How many requests; 0: any number.
            clock: Time in seconds that never goes back.
        """
        self._per_minute = per_minute
        self._clock = clock
        self._lock = threading.Lock()
        self._free_at: OrderedDict[str, float] = OrderedDict()

    def wait_s(self, name: str) -> float:
        """Count a request; returns 0, or how long to wait where it is one too many."""
        if self._per_minute == 0:
            return 0.0
        share_s = _MINUTE_S / self._per_minute
        with self._lock:
            now = self._clock()
            free_at = max(now, self._free_at.get(name, now)) + share_s
            if free_at - now > _MINUTE_S + _ROUNDING_S:
                return free_at - now - _MINUTE_S
            self._free_at[name] = free_at
            self._free_at.move_to_end(name)
            if len(self._free_at) > _MOST_NAMES:
                self._free_at.popitem(last=False)
        return 0.0


def household(address: str) -> str:
    """Return what counts as one client of an address."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        network = ip_network((int(parsed), _HOUSEHOLD_BITS), strict=False)
        return str(parsed.ipv4_mapped or network)
    return str(parsed)
