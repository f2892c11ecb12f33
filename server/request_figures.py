"""How many requests came and how long they took, counted by the process that answered them."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram

_BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
"""From a next sample, which takes milliseconds, to a request that waits for a worker."""


class RequestFigures:
    """Counts requests; any thread may."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Start at zero, and be collected with ``registry``."""
        self._requests = Counter(
            "caclabel_http_requests",
            "Requests that were answered",
            ("method", "route", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "caclabel_http_request_duration_seconds",
            "Seconds from a request to the end of its answer",
            ("method", "route"),
            buckets=_BUCKETS_S,
            registry=registry,
        )

    def note(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)
