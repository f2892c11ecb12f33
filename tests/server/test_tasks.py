"""Trainings, scorings and batches: the same kind of task on the wire."""

import math

import pytest
from fastapi.testclient import TestClient

from app import jobs
from app.jobs import JobKind
from app.store.tables import JobRow, Json
from tests.server.conftest import Site
from tests.server.fake_worker import working
from tests.server.pool import add_model

STARTS: dict[JobKind, str] = {
    "train": "/train/calcium",
    "evaluate": "/scoring/dice",
    "batch": "/batch/infer/calcium",
}
URLS: dict[JobKind, str] = {"train": "/train/", "evaluate": "/scoring/", "batch": "/batch/infer"}


@pytest.fixture
def ready(pool: Site) -> Site:
    """Return a site on which everything may be started: two labels and a model."""
    pool.submit("case_1")
    pool.submit("case_2")
    add_model(pool.services)
    return pool


def run_until(site: Site, status: jobs.EndStatus, lines: list[str]) -> None:
    """Let a worker take the open job and end it."""
    with site.services.database.writing() as session:
        job = session.query(JobRow).filter(JobRow.status.in_(jobs.OPEN)).one()
        jobs.start(session, job.id, "fake", now=1.0)
        job.details = []
        jobs.finish(session, job.id, status, lines, now=2.0)


def start(site: Site, kind: JobKind) -> Json:
    answer = site.client.post(STARTS[kind])
    assert answer.status_code == 200, answer.text
    body: Json = answer.json()
    return body


@pytest.mark.parametrize("kind", URLS)
class TestEveryKindOfTask:
    def test_there_is_none_at_first(self, client: TestClient, kind: JobKind) -> None:
        for query in ("", "?check_if_running=true"):
            answer = client.get(URLS[kind] + query)
            assert answer.status_code == 404
            assert isinstance(answer.json()["detail"], str)

    def test_no_task_is_an_empty_list_of_all(self, client: TestClient, kind: JobKind) -> None:
        answer = client.get(URLS[kind] + "?all=true")
        assert (answer.status_code, answer.json()) == (200, [])

    def test_a_waiting_one_is_running_for_the_clients(self, ready: Site, kind: JobKind) -> None:
        task = start(ready, kind)
        assert task["status"] == "RUNNING"
        assert task["details"]
        running = ready.client.get(URLS[kind] + "?check_if_running=true")
        assert running.status_code == 200
        assert running.json()["id"] == task["id"]

    def test_a_second_one_is_429(self, ready: Site, kind: JobKind) -> None:
        start(ready, kind)
        answer = ready.client.post(STARTS[kind])
        assert answer.status_code == 429
        assert "running already" in answer.json()["detail"]

    @pytest.mark.parametrize(
        ("status", "word"), [("done", "DONE"), ("failed", "ERROR"), ("canceled", "STOPPED")]
    )
    def test_an_end_has_its_word_and_a_last_line(
        self, ready: Site, kind: JobKind, status: jobs.EndStatus, word: str
    ) -> None:
        start(ready, kind)
        run_until(ready, status, [])
        task = ready.client.get(URLS[kind]).json()
        assert task["status"] == word
        # 3D Slicer reads the last line of every task it stops.
        assert task["details"][-1]
        assert task["end_ts"] > task["start_ts"][:4]
        assert ready.client.get(URLS[kind] + "?check_if_running=true").status_code == 404

    def test_stopping_answers_the_task_then_null(self, ready: Site, kind: JobKind) -> None:
        task = start(ready, kind)
        stopped = ready.client.delete(URLS[kind])
        assert stopped.json()["id"] == task["id"]
        assert stopped.json()["status"] == "STOPPED"
        assert stopped.json()["details"]
        again = ready.client.delete(URLS[kind])
        assert (again.status_code, again.json()) == (200, None)

    def test_one_that_runs_is_stopped_for_the_clients_at_once(
        self, ready: Site, kind: JobKind
    ) -> None:
        task = start(ready, kind)
        with ready.services.database.writing() as session:
            jobs.start(session, task["id"], "fake", now=1.0)
        assert ready.client.delete(URLS[kind]).json()["status"] == "STOPPED"
        assert ready.client.get(URLS[kind] + "?check_if_running=true").status_code == 404

    def test_a_new_one_may_follow_one_that_is_being_stopped(
        self, ready: Site, kind: JobKind
    ) -> None:
        first = start(ready, kind)
        with ready.services.database.writing() as session:
            jobs.start(session, first["id"], "fake", now=1.0)
        ready.client.delete(URLS[kind])
        second = start(ready, kind)
        assert second["id"] != first["id"]
        # The old one is open still, the clients must be told of the new one.
        assert ready.client.get(URLS[kind]).json()["id"] == second["id"]
        assert ready.client.delete(URLS[kind]).json()["id"] == second["id"]

    def test_waiting_for_the_end_answers_the_result(self, ready: Site, kind: JobKind) -> None:
        with working(ready.services.database, lambda job: {"kind": job.kind}):
            answer = ready.client.post(STARTS[kind] + "?run_sync=true")
        assert (answer.status_code, answer.json()) == (200, {"kind": kind})


def test_a_result_without_a_number_is_answered_all_the_same(site: Site) -> None:
    with working(site.services.database, lambda _: {"icc": math.nan, "f1": 0.5}):
        answer = site.client.post("/scoring/dice?run_sync=true")
    assert (answer.status_code, answer.json()) == (200, {"f1": 0.5})


def test_options_of_a_training_may_be_texts(ready: Site) -> None:
    options = {"max_epochs": "7", "client_id": "user-xyz", "device": ["cuda"], "name": "x"}
    answer = ready.client.post("/train/calcium", json=options)
    assert answer.json()["request"] == {
        "model": "calcium",
        "options": {"max_epochs": 7, "start": "shrink_perturb"},
        "client_id": "user-xyz",
        "request_id": answer.headers["X-Request-ID"],
    }


@pytest.mark.parametrize("epochs", ["many", -1, 1.5, "nan"])
def test_epochs_that_are_no_number_are_refused(ready: Site, epochs: object) -> None:
    answer = ready.client.post("/train/calcium", json={"max_epochs": epochs})
    assert answer.status_code == 422
    assert "max_epochs" in answer.json()["detail"]


def test_a_training_may_wait_for_its_turn(ready: Site) -> None:
    start(ready, "train")
    answer = ready.client.post("/train/calcium?enqueue=true")
    assert answer.status_code == 200
    assert len(ready.client.get("/train/?all=true").json()) == 2


def test_a_training_without_labels_is_refused_at_once(pool: Site) -> None:
    pool.submit("case_1")
    answer = pool.client.post("/train/calcium")
    assert answer.status_code == 409
    assert "at least 2 labeled images, there are 1" in answer.json()["detail"]


def test_all_trainers_take_their_own_options(ready: Site) -> None:
    answer = ready.client.post("/train/", json={"calcium": {"max_epochs": 3}}).json()
    assert answer["calcium"]["result"]["request"]["options"] == {
        "max_epochs": 3,
        "start": "shrink_perturb",
    }
    assert answer["calcium"]["detail"] is None


def test_all_trainers_take_flat_options_of_scripts(ready: Site) -> None:
    answer = ready.client.post("/train/", json={"model": "calcium", "max_epochs": 3}).json()
    assert answer["calcium"]["result"]["request"]["options"] == {
        "max_epochs": 3,
        "start": "shrink_perturb",
    }


def test_all_trainers_running_already_is_no_error(ready: Site) -> None:
    ready.client.post("/train/")
    answer = ready.client.post("/train/")
    assert answer.status_code == 200
    assert "running already" in answer.json()["calcium"]["detail"]


def test_all_scorings_take_turns(client: TestClient) -> None:
    answer = client.post("/scoring/")
    assert answer.status_code == 200
    assert set(answer.json()) == {"dice", "uncertainty"}
    assert len(client.get("/scoring/?all=true").json()) == 2


def test_all_scorings_may_be_waited_for(site: Site) -> None:
    with working(site.services.database, lambda job: {"method": job.request["method"]}):
        answer = site.client.post("/scoring/?run_sync=true").json()
    assert answer["dice"] == {"result": {"method": "dice"}, "detail": None}


def test_a_batch_keeps_its_choice(ready: Site) -> None:
    task = ready.client.post(
        "/batch/infer/calcium?images=unlabeled", json={"label_tag": "original", "gpus": "all"}
    ).json()
    assert task["request"]["images"] == "unlabeled"
    assert task["request"]["label_tag"] == "original"


def test_a_batch_never_replaces_labels_of_people(ready: Site) -> None:
    answer = ready.client.post("/batch/infer/calcium", json={"label_tag": "final"})
    assert answer.status_code == 422


def test_a_batch_needs_a_model(pool: Site) -> None:
    assert pool.client.post("/batch/infer/calcium").status_code == 409


@pytest.mark.parametrize(
    "path", ["/train/spleen", "/scoring/sum", "/batch/infer/spleen", "/infer/wsi/calcium"]
)
def test_an_unknown_name_is_404(client: TestClient, path: str) -> None:
    assert client.post(path).status_code == 404
