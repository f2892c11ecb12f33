"""docs/monitoring.md names every metric there is, and no other."""

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app import jobs
from app.store.tables import ModelVersionRow
from server import figures
from tests.server.conftest import Site
from tests.server.pool import add_model, add_prediction

_PAGE = (Path(__file__).resolve().parents[3] / "docs" / "monitoring.md").read_text()


@pytest.fixture
def told(pool: Site, monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """Return all metrics of a server that has done everything, with their labels."""
    monkeypatch.setattr(figures, "_FRESH_S", -1.0)
    version = add_model(pool.services)
    add_prediction(pool.services, "case_1", version)
    with pool.services.database.writing() as session:
        row = session.get_one(ModelVersionRow, version)
        row.card = {"training_labels": [1]}
        job = jobs.request_job(session, "train", {}, now=1.0, job_id=row.job_id)
        jobs.start(session, job.id, "worker-0", now=1.0)
        jobs.finish(session, job.id, "done", [], now=2.0)
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(pool.client.get("/metrics").text):
        name = family.name + ("_total" if family.type == "counter" else "")
        found[name] = {label for sample in family.samples for label in sample.labels} - {"le"}
    return found


def test_the_table_has_every_metric_with_its_labels(told: dict[str, set[str]]) -> None:
    rows = re.findall(r"^\| `(\w+)` \|([\w, ]*)\|", _PAGE, re.MULTILINE)
    assert {name: set(re.findall(r"\w+", labels)) for name, labels in rows} == told


def test_rules_name_only_metrics_that_there_are(told: dict[str, set[str]]) -> None:
    named = set(re.findall(r"\bcaclabel_\w+", _PAGE))
    assert {name.removesuffix("_bucket") for name in named} <= set(told)
