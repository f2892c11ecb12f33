"""What ``/metrics`` tells: requests of this process, and what the database knows, asked anew.

Concurrency: scrapes come in any thread; one at a time looks at the database, the others get
what it found. A registry of its own, because a process of tests has several applications.
"""

import threading
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Final, get_args

from prometheus_client import (
    CollectorRegistry,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import DBAPIError

from app.errors import StorageError
from app.jobs import JobKind
from app.monitoring import Observation, observe
from server.dependencies import Services
from server.request_figures import RequestFigures

_FRESH_S: Final = 2.0
"""So long an observation is told again: several scrapers cost no more than one."""

_STATES: Final = ("queued", "running", "done", "failed", "canceled")


class Figures:
    """The figures of one application.

    Attributes:
        requests: Counts its requests.
    """

    def __init__(self, services: Callable[[], Services]) -> None:
        """Start at zero.

        Args:
            services: Returns what the application has at the time of a scrape.
        """
        # For the whole process; when a series began is told by the start of the process.
        disable_created_metrics()
        self._registry = CollectorRegistry()
        self._registry.register(_Deployment(services))
        ProcessCollector(registry=self._registry)
        self.requests = RequestFigures(self._registry)

    def text(self) -> bytes:
        """Return all figures in the text format of Prometheus."""
        return generate_latest(self._registry)


class _Deployment(Collector):
    """Collects what the database knows."""

    def __init__(self, services: Callable[[], Services]) -> None:
        self._services = services
        self._lock = threading.Lock()
        self._seen: Observation | None = None
        self._seen_at = 0.0

    def collect(self) -> Iterator[Metric]:
        """Return the figures; without the database those that need none."""
        services = self._services()
        seen = self._observation(services)
        build = GaugeMetricFamily(
            "caclabel_build_info", "Version of the server", labels=["version"]
        )
        build.add_metric([version("caclabel")], 1)
        yield build
        yield _gauge("caclabel_database_up", "Whether the database answers", seen is not None)
        yield CounterMetricFamily(
            "caclabel_database_errors",
            "Errors of the database in the web process",
            value=services.database.error_count,
        )
        yield _gauge("caclabel_stopping", "Whether the server ends", services.stopping.is_set())
        if seen is not None:
            yield from _jobs(seen)
            yield from _pool(seen)

    def _observation(self, services: Services) -> Observation | None:
        with self._lock:
            if self._seen is None or time.monotonic() - self._seen_at > _FRESH_S:
                try:
                    with services.database.reading() as session:
                        self._seen = observe(session, services.settings, now=time.time())
                except (DBAPIError, StorageError, OSError):
                    # Told by caclabel_database_up; the requests that fail log why.
                    self._seen = None
                self._seen_at = time.monotonic()
            return self._seen


def _jobs(seen: Observation) -> Iterator[Metric]:
    jobs = GaugeMetricFamily("caclabel_jobs", "Jobs by kind and state", labels=["kind", "state"])
    ages = GaugeMetricFamily(
        "caclabel_oldest_queued_job_age_seconds",
        "How long the oldest queued job of a kind has been waiting; 0 without one",
        labels=["kind"],
    )
    for kind in get_args(JobKind):
        for state in _STATES:
            jobs.add_metric([kind, state], seen.jobs.get((kind, state), 0))
        ages.add_metric([kind], seen.oldest_queued_s.get(kind, 0.0))
    yield jobs
    yield ages
    yield _gauge("caclabel_workers", "Workers that live", seen.live_workers)
    if seen.prediction_s is not None:
        yield _gauge(
            "caclabel_prediction_seconds_per_volume",
            "Mean seconds of a volume in the last 100 predictions",
            seen.prediction_s,
        )
    if seen.training_s is not None:
        yield _gauge(
            "caclabel_training_seconds_per_volume",
            "Seconds of the last training, judging included, for each volume it learned from",
            seen.training_s,
        )


def _pool(seen: Observation) -> Iterator[Metric]:
    yield _gauge("caclabel_images", "Images of the pool", seen.images)
    yield _gauge("caclabel_images_labeled", "Images with a final label", seen.labeled)
    yield _gauge("caclabel_images_unlabeled", "Images without a final label", seen.unlabeled)
    yield _gauge(
        "caclabel_images_scored",
        "Images without a final label that the active model version has scored",
        seen.scored,
    )
    labels = GaugeMetricFamily("caclabel_labels", "Label versions by author", labels=["author"])
    labels.add_metric(["person"], seen.labels_by_people)
    labels.add_metric(["model"], seen.labels_by_models)
    yield labels
    yield _gauge("caclabel_leases", "Samples that lie with clients", seen.leases)
    yield _gauge("caclabel_model_version", "Model version that answers", seen.model_version)
    yield _gauge("caclabel_quarantined_files", "Files that are not trusted", seen.quarantined)
    yield _gauge("caclabel_damaged_files", "Stored files damaged or lost", seen.damaged)
    yield _gauge("caclabel_disk_free_bytes", "Room beside the data folder", seen.free_bytes)


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(name, meaning, value=value)
