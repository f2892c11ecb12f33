"""The whole loop with both databases in PostgreSQL, as a hospital with several hosts runs it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.pool import write_label, write_pool
from tests.journeys.postgresql import postgresql, postgresql_programs
from tests.journeys.serving import RunningServer, serving, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(postgresql_programs() is None, reason="PostgreSQL is not installed"),
]

_TRAINING_S = 240.0
_IMAGES = 4


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("postgresql")
    studies = write_pool(folder / "studies", _IMAGES)
    with (
        postgresql() as root,
        serving(
            studies,
            folder / "data",
            database_url=f"{root}/caclabel",
            jobs_url=f"{root}/jobs",
            validation_percent=0,
            samples=2,
        ) as running,
    ):
        yield running


def next_sample(server: RunningServer, client: str) -> str:
    body = {"client_id": client}
    sample = server.request("POST", "/activelearning/uncertainty", json=body).json()
    return str(sample["id"])


def submit(server: RunningServer, image: str, folder: Path) -> None:
    label = write_label(folder / f"{image}.nrrd", int(image.removeprefix("case_")))
    files = {"label": (label.name, label.read_bytes())}
    answer = server.request("PUT", f"/datastore/label?image={image}", files=files)
    assert answer.status_code == 200, answer.text


def test_whole_loop_runs_on_postgresql(server: RunningServer, tmp_path: Path) -> None:
    samples = [next_sample(server, client) for client in ("a", "b")]
    assert len(set(samples)) == len(samples)
    for image in samples:
        submit(server, image, tmp_path)
    assert server.labeled() == len(samples)
    assert server.request("POST", "/train/calcium", json={"max_epochs": 1}).ok
    wait_until(lambda: not server.is_training(), server, _TRAINING_S)
    training = server.request("GET", "/train/").json()
    assert training["status"] == "DONE", training["details"]
    # The new model version predicts an unlabeled image, with its table of scores.
    answer = server.request("POST", f"/infer/calcium?image={next_sample(server, 'c')}&output=json")
    assert answer.status_code == 200, answer.text
    assert answer.json()["calcium"]["distribution"]["samples"] == 2
    # No SQLite file stands in for a database that was named.
    assert not list(server.data.glob("*.sqlite"))
