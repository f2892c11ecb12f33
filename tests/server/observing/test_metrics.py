"""``/metrics``: what Prometheus reads, and what it never gets to see."""

from collections.abc import Mapping
from contextlib import suppress

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.exc import IntegrityError

from app import jobs
from app.access.roles import Role
from app.settings import Settings
from app.store.tables import ModelVersionRow, QuarantineRow, WorkerRow
from server import figures
from server.main import create_app
from tests.server.conftest import Site
from tests.server.pool import add_model, add_prediction
from tests.server.security.conftest import guarding


@pytest.fixture(autouse=True)
def _always_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "_FRESH_S", -1.0)


def scrape(client: TestClient) -> Mapping[str, Mapping[frozenset[str], float]]:
    """Return values by name and by the values of their labels."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    found: dict[str, dict[frozenset[str], float]] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[frozenset(sample.labels.values())] = sample.value
    return found


def value(client: TestClient, name: str, *labels: str) -> float:
    return scrape(client)[name][frozenset(labels)]


def test_requests_are_counted_by_route(site: Site) -> None:
    before = scrape(site.client).get("caclabel_http_requests_total", {})
    key = frozenset({"GET", "/datastore/image", "404"})
    for image in ("a", "b"):
        site.client.get(f"/datastore/image/?image={image}")
    site.client.get("/datastore/images-of/DOE_JANE")
    after = scrape(site.client)
    assert after["caclabel_http_requests_total"][key] - before.get(key, 0.0) == 2.0
    assert after["caclabel_http_requests_total"][frozenset({"GET", "unknown", "404"})] >= 1.0
    seconds = after["caclabel_http_request_duration_seconds_count"]
    assert seconds[frozenset({"GET", "/datastore/image"})] >= 2.0
    assert not any("JANE" in "".join(labels) for values in after.values() for labels in values)


def test_paths_that_nobody_declared_are_one_series(site: Site) -> None:
    site.client.get("/nowhere")
    before = len(scrape(site.client)["caclabel_http_requests_total"])
    for number in range(20):
        site.client.get(f"/nowhere/{number}")
    assert len(scrape(site.client)["caclabel_http_requests_total"]) <= before + 1


def test_applications_count_for_themselves(settings: Settings) -> None:
    with TestClient(create_app(settings)) as first, TestClient(create_app(settings)) as second:
        first.get("/auth")
        assert not any(
            "/auth" in labels for labels in scrape(second).get("caclabel_http_requests_total", {})
        )


def test_jobs_are_told_by_kind_state_and_age(site: Site) -> None:
    with site.services.database.writing() as session:
        for created_at in (50.0, 70.0):
            jobs.request_job(session, "score", {}, now=created_at)
        running = jobs.request_job(session, "train", {}, now=10.0)
        jobs.start(session, running.id, "worker-0", now=20.0)
    found = scrape(site.client)
    counts = found["caclabel_jobs"]
    assert counts[frozenset({"score", "queued"})] == 2.0
    assert counts[frozenset({"train", "running"})] == 1.0
    # Without a job, too: an alert on a series that is missing never fires.
    assert counts[frozenset({"export", "failed"})] == 0.0
    ages = found["caclabel_oldest_queued_job_age_seconds"]
    # It has been waiting since the year 1970.
    assert ages[frozenset({"score"})] > 1e9
    assert ages[frozenset({"train"})] == 0.0


def test_the_pool_is_told(pool: Site) -> None:
    pool.upload("case_3", seed=3)
    pool.submit("case_1", params='{"client_id": "ann"}')
    version = add_model(pool.services)
    add_prediction(pool.services, "case_2", version)
    found = scrape(pool.client)
    told = {
        name: found[f"caclabel_{name}"][frozenset()]
        for name in ("images", "images_labeled", "images_unlabeled", "images_scored")
    }
    assert told == {
        "images": 3.0,
        "images_labeled": 1.0,
        "images_unlabeled": 2.0,
        "images_scored": 1.0,
    }
    assert found["caclabel_model_version"][frozenset()] == version
    assert found["caclabel_labels"] == {frozenset({"person"}): 1.0, frozenset({"model"}): 0.0}
    assert "ann" not in pool.client.get("/metrics").text.split()


def test_leases_workers_and_what_is_wrong_are_told(pool: Site) -> None:
    pool.client.post("/activelearning/random", json={"client_id": "ann"})
    with pool.services.database.writing() as session:
        session.add(WorkerRow(id="long-gone", seen_at=1.0, started_at=1.0))
        session.add(QuarantineRow(path="x", signature="", problem="odd", seen_at=1.0))
    found = scrape(pool.client)
    assert found["caclabel_leases"][frozenset()] == 1.0
    assert found["caclabel_workers"][frozenset()] == 0.0
    assert found["caclabel_quarantined_files"][frozenset()] == 1.0
    assert found["caclabel_damaged_files"][frozenset()] == 0.0
    assert found["caclabel_disk_free_bytes"][frozenset()] > 0.0


def test_seconds_of_volumes_are_told(pool: Site) -> None:
    assert "caclabel_training_seconds_per_volume" not in scrape(pool.client)
    version = add_model(pool.services)
    add_prediction(pool.services, "case_1", version)
    with pool.services.database.writing() as session:
        row = session.get_one(ModelVersionRow, version)
        row.card = {"training_labels": [1, 2, 3, 4]}
        job = jobs.request_job(session, "train", {}, now=1.0, job_id=row.job_id)
        jobs.start(session, job.id, "worker-0", now=10.0)
        jobs.finish(session, job.id, "done", [], now=110.0)
    found = scrape(pool.client)
    # 100 s for four labels.
    assert found["caclabel_training_seconds_per_volume"][frozenset()] == 25.0
    assert found["caclabel_prediction_seconds_per_volume"][frozenset()] > 0.0


def test_a_database_that_fails_is_told_and_not_a_failure(site: Site) -> None:
    assert value(site.client, "caclabel_database_up") == 1.0
    with site.services.database.writing() as session:
        session.connection().exec_driver_sql("DROP TABLE workers")
    found = scrape(site.client)
    assert found["caclabel_database_up"][frozenset()] == 0.0
    assert found["caclabel_database_errors_total"][frozenset()] >= 1.0
    assert "caclabel_images" not in found
    assert "caclabel_http_requests_total" in found


def test_what_a_constraint_refuses_is_no_error(site: Site) -> None:
    for _ in range(2):
        with suppress(IntegrityError), site.services.database.writing() as session:
            session.add(WorkerRow(id="twice", seen_at=1.0, started_at=1.0))
    assert value(site.client, "caclabel_database_errors_total") == 0.0


def test_scrapes_at_once_are_one_look(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    scrape(site.client)
    monkeypatch.setattr(figures, "_FRESH_S", 1e9)
    with site.services.database.writing() as session:
        jobs.request_job(session, "score", {}, now=1.0)
    assert value(site.client, "caclabel_jobs", "score", "queued") == 0.0


def test_a_server_that_is_stopped_says_so(site: Site) -> None:
    assert site.client.get("/health/ready").status_code == 200
    site.services.stopping.set()
    assert value(site.client, "caclabel_stopping") == 1.0
    assert site.client.get("/health/ready").status_code == 503
    # Whoever starts a container again that is not alive must not do so now.
    assert site.client.get("/health/live").status_code == 200


def test_a_key_of_a_user_is_enough_and_none_is_not(settings: Settings) -> None:
    with guarding(create_app(Settings(access="on")), settings) as site:
        assert site.client.get("/metrics").status_code == 401
        assert site.client.get("/metrics", headers=site.as_role(Role.USER)).status_code == 200
