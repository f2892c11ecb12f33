"""How fast the server answers while its worker trains and predicts."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from app.calcium.labels import LABELS
from app.errors import JobFailedError
from server.bench.figures import Figure, Section, latency, time_calls
from server.bench.scale import Scale
from server.bench.site import Site, running_site
from server.demo.client import AnnotationClient
from server.demo.patients import Order, Patient, make_patients
from server.demo.server_process import private_settings
from server.demo.waiting import Step

_LABELED = 3
"""Images with a label, for a short training."""

_TEST = 2
"""Images that are sent along with predictions."""

_LONG = 1000
"""Epochs of a training that does not end before it is stopped."""

_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class _Bench:
    """A server with a small pool, and what is sent to it."""

    site: Site
    pool: tuple[Patient, ...]
    test: tuple[Patient, ...]
    masks: Path

    @property
    def client(self) -> AnnotationClient:
        """Way to the server."""
        return self.site.client


def measure(scale: Scale) -> Section:
    """Measure the calls that viewers make all the time, and predictions."""
    folder = scale.folder / "polling"
    scale.narrator.progress("making synthetic patients")
    pool, test = _make(folder, scale)
    settings = private_settings(
        folder, studies=folder / "studies", profile="small", scan_seconds=1.0
    )
    with running_site(folder, settings, scale.narrator) as site:
        bench = _Bench(site, pool, test, folder / "masks")
        _train_a_model(bench)
        idle = _predictions(bench, scale.calls)
        with _busy(bench):
            scale.narrator.progress("asking while the worker is busy")
            busy = _polls(bench, scale.calls)
    setting = (
        f"{len(pool)} images of {'x'.join(map(str, scale.small))} voxels, network of the profile"
        " small; one worker trains while a client asks for one prediction after the other."
    )
    return Section("polling", "Answers while the worker is busy", setting, (*busy, *idle))


def _make(folder: Path, scale: Scale) -> tuple[tuple[Patient, ...], tuple[Patient, ...]]:
    """Make patients for the pool and others to send along with predictions."""
    places = {True: folder / "studies", False: folder / "test"}
    orders = [
        Order(3, index, scale.small, places[index < scale.images], folder / "oracle")
        for index in range(scale.images + _TEST)
    ]
    made = tuple(make_patients(orders))
    return made[: scale.images], made[scale.images :]


def _train_a_model(bench: _Bench) -> None:
    """Train for one epoch, and let the pool be predicted: what follows shall not wait for it."""
    client, waiting, count = bench.client, bench.site.waiting, len(bench.pool)

    def scan() -> Step:
        found = client.image_count()
        return Step(found >= count, found, f"{found} of {count} images read")

    def train() -> Step:
        status = client.training()
        return Step(status.status == "DONE", status.progress, f"training: {status.line}")

    def predict() -> Step:
        predicted, unlabeled = client.unlabeled_images()
        text = f"{len(predicted)} of {len(unlabeled)} images predicted"
        return Step(predicted == unlabeled, len(predicted), text)

    waiting.until_done(scan)
    for patient in bench.pool[:_LABELED]:
        client.submit(patient.patient_id, patient.label, list(LABELS))
    client.start_training(1)
    waiting.until_done(train)
    waiting.until_done(predict)


def _predictions(bench: _Bench, calls: int) -> tuple[Figure, ...]:
    """Measure a prediction made on the spot and one that is stored."""
    client, masks = bench.client, bench.masks
    predicted, _ = client.unlabeled_images()
    stored = sorted(predicted)[0]
    cold = time_calls(lambda: client.infer_file(bench.test[0].image, masks), _fewer(calls, 12))
    warm = time_calls(lambda: client.infer_image(stored, masks), _fewer(calls, 3))
    return (
        *latency("POST /infer/, new image sent along, idle worker", cold),
        *latency("POST /infer/, image predicted before", warm),
    )


def _fewer(calls: int, times: int) -> int:
    """Return so many times fewer calls, at least one: predictions take longer than questions."""
    return max(1, calls // times)


@contextmanager
def _busy(bench: _Bench) -> Iterator[None]:
    """Keep the worker busy with a training and with predictions."""
    stop = threading.Event()
    own = AnnotationClient(bench.site.url, "bench-infer")

    def predict() -> None:
        while not stop.is_set():
            for patient in bench.test:
                own.infer_file(patient.image, bench.masks)

    def is_training() -> Step:
        status = bench.client.training()
        return Step(status.progress > 0.0, 0.0, f"training: {status.line}")

    bench.client.start_training(_LONG)
    bench.site.waiting.until_done(is_training)
    thread = threading.Thread(target=predict, name="bench-infer", daemon=True)
    thread.start()
    try:
        yield
    finally:
        requests.delete(f"{bench.site.url}/train/", timeout=_TIMEOUT_S)
        stop.set()
        thread.join(_TIMEOUT_S)
        own.close()
    if thread.is_alive():
        raise JobFailedError("the predictions beside the measurement did not end")


def _polls(bench: _Bench, calls: int) -> list[Figure]:
    with requests.Session() as http:
        http.trust_env = False
        figures: list[Figure] = []
        for name, ask in _questions(http, bench.site.url).items():
            figures += latency(name, time_calls(ask, calls))
        return figures


def _questions(http: requests.Session, url: str) -> dict[str, Callable[[], None]]:
    last = {"id": ""}

    def get(path: str) -> None:
        if http.get(url + path, timeout=_TIMEOUT_S).status_code != 200:
            raise JobFailedError(f"GET {path} failed while the worker was busy")

    def next_sample(strategy: str) -> None:
        # The last sample is given back, so that the small pool is never exhausted.
        options = {"client_id": "bench", "skip": last["id"]}
        answer = http.post(f"{url}/activelearning/{strategy}", json=options, timeout=_TIMEOUT_S)
        last["id"] = answer.json()["id"]

    return {
        "GET /info/": lambda: get("/info/"),
        "GET /train/?check_if_running=true": lambda: get("/train/?check_if_running=true"),
        "GET /auth/": lambda: get("/auth/"),
        "GET /datastore/": lambda: get("/datastore/"),
        "POST /activelearning/uncertainty": lambda: next_sample("uncertainty"),
        "POST /activelearning/random": lambda: next_sample("random"),
    }
