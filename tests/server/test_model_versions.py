"""Model versions over HTTP; what a training leaves before the judging is planted."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from app import jobs, model_versions
from app.background.work import WorkContext
from app.prediction_keys import prediction_key
from app.settings import Settings
from app.store.tables import AuditRow, JobRow, Json, PredictionRow
from server.main import create_app
from tests.app.training import planted
from tests.app.training.planted import Sees

LABELS, VALIDATION = 5, 3


@dataclass(frozen=True)
class Loop:
    """A server, and the worker beside it."""

    client: TestClient
    worker: WorkContext

    def train(self, sees: Sees) -> Json:
        """Ask for a training and let a planted network be its result."""
        answer = self.client.post("/train/calcium", json={"client_id": "dr-a"})
        assert answer.status_code == 200, answer.text
        with self.worker.database.writing() as session:
            jobs.start(session, answer.json()["id"], "worker-0", now=3.0)
            job = jobs.get_job(session, answer.json()["id"])
        version = planted.plant(self.worker, job, sees)
        planted.run(self.worker, job)
        return self.version(version.id)

    def version(self, number: int) -> Json:
        body: Json = self.client.get(f"/model_versions/{number}").json()
        return body

    def audit(self) -> list[tuple[str, str, str]]:
        with self.worker.database.reading() as session:
            rows = session.scalars(select(AuditRow).order_by(AuditRow.id)).all()
        return [
            (row.actor, row.action, row.subject)
            for row in rows
            if row.subject.startswith("model version")
        ]

    def score_jobs(self, version: int) -> list[str]:
        """Return the images that wait to be scored by a version, in order."""
        with self.worker.database.reading() as session:
            wanted = select(JobRow).where(JobRow.kind == "score").order_by(JobRow.created_at)
            return [
                image
                for job in session.scalars(wanted)
                if job.request["model_version"] == version
                for image in job.request["images"]
            ]


@pytest.fixture
def loop(tmp_path: Path, empty_database: Path) -> Iterator[Loop]:
    data, studies = tmp_path / "data", tmp_path / "studies"
    data.mkdir()
    studies.mkdir()
    shutil.copy(empty_database, data / "caclabel.sqlite")
    settings = Settings(
        data=data, studies=studies, profile="small", gate_patients=2, samples=2, device="cpu"
    )
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        services = client.app.state.services  # type: ignore[attr-defined]  # of our application
        worker = WorkContext(settings, services.database, services.files, "cpu")
        planted.add_pool(worker, LABELS, tmp_path, validation=VALIDATION)
        yield Loop(client, worker)


def test_a_worse_challenger_is_refused_and_can_be_promoted_and_rolled_back(loop: Loop) -> None:
    first = loop.train("all")
    assert (first["status"], first["lineage"]) == ("active", [])
    assert first["reason"] == "promoted: the first version, there is no other"

    worse = loop.train("nothing")
    assert worse["status"] == "kept back"
    assert worse["reason"].startswith(
        "kept back: calcium volume F1 0.00 against 1.00 of version 1 on 3 validation patients;"
    )
    assert worse["decision"]["promote"] is False
    assert worse["metrics"]["volume_f1"] == 0.0
    assert (worse["parent"], worse["lineage"]) == (1, [1])
    # The client that trains sees the reason as the last line but one.
    assert worse["reason"] in loop.client.get("/train/").json()["details"]
    assert loop.client.get("/model/info/calcium").json()["version"] == 1

    answer = loop.client.post(
        "/model_versions/2/promote", json={"client_id": "dr-b", "reason": "to see it"}
    )
    assert answer.json()["status"] == "active"
    assert answer.json()["reason"] == "promoted by dr-b: to see it"
    assert loop.client.get("/model/info/calcium").json()["version"] == 2

    back = loop.client.post("/model_versions/rollback", json={"client_id": "dr-b"})
    assert (back.status_code, back.json()["id"]) == (200, 1)
    assert back.json()["reason"] == "rolled back by dr-b from version 2"
    assert loop.version(2)["status"] == "former"
    assert loop.audit() == [
        ("worker", "promote", "model version 1"),
        ("worker", "keep back", "model version 2"),
        ("dr-b", "promote", "model version 2"),
        ("dr-b", "rollback", "model version 1"),
    ]


def test_what_a_version_predicted_before_is_used_again_after_a_rollback(loop: Loop) -> None:
    loop.train("all")
    held_out = {f"case_{number}" for number in range(LABELS - VALIDATION, LABELS)}
    with loop.worker.database.reading() as session:
        before = set(session.scalars(select(PredictionRow.id)))
    loop.train("nothing")
    loop.client.post("/model_versions/2/promote")
    loop.client.post("/model_versions/rollback")
    # What both judgings predicted is not asked for again.
    assert not held_out & set(loop.score_jobs(1))
    with loop.worker.database.reading() as session:
        assert before <= set(session.scalars(select(PredictionRow.id)))
    table = loop.client.post("/infer/calcium?image=case_4&output=json").json()
    assert table["calcium"]["total"]["agatston"] > 0


def test_rolling_back_goes_down_to_the_first_version(loop: Loop) -> None:
    for _ in range(3):
        loop.train("all")
    assert [row["id"] for row in loop.client.get("/model_versions/").json()] == [3, 2, 1]
    for expected in (2, 1):
        assert loop.client.post("/model_versions/rollback").json()["id"] == expected
    answer = loop.client.post("/model_versions/rollback")
    assert answer.status_code == 409
    assert answer.json()["detail"] == "no model version answered before this one"
    assert loop.version(1)["status"] == "active"


def test_a_version_tells_what_it_was_made_of(loop: Loop) -> None:
    version = loop.train("all")
    assert version["start"] == "fresh"
    assert version["label_count"] == LABELS
    assert version["calibration"]["patients"] == VALIDATION
    assert "quantile" not in version["calibration"]
    assert version["metrics"]["patients"] == VALIDATION
    assert json.dumps(version["decision"])


@pytest.mark.parametrize(
    ("path", "status", "detail"),
    [
        ("/model_versions/7/promote", 404, "no model version 7"),
        ("/model_versions/1/promote", 409, "model version 1 answers already"),
        ("/model_versions/rollback", 409, "no model version answered before this one"),
    ],
)
def test_what_cannot_be_done_is_told(loop: Loop, path: str, status: int, detail: str) -> None:
    loop.train("all")
    answer = loop.client.post(path)
    assert (answer.status_code, answer.json()["detail"]) == (status, detail)
    assert loop.client.get("/model_versions/7").status_code == 404


@pytest.mark.parametrize("number", ["0", "-1", "x", "99999999999999999999999"])
def test_a_number_that_is_no_id_is_refused(client: TestClient, number: str) -> None:
    assert client.get(f"/model_versions/{number}").status_code == 422
    assert client.post(f"/model_versions/{number}/promote").status_code == 422


def test_a_version_without_weights_never_answers(loop: Loop) -> None:
    loop.train("all")
    job_id = loop.train("nothing")["job_id"]
    model_versions.weights_path(loop.worker.settings, job_id).unlink()
    answer = loop.client.post("/model_versions/2/promote")
    assert answer.status_code == 404
    assert "weights of model version 2 are gone" in answer.json()["detail"]
    assert loop.version(1)["status"] == "active"


def test_a_version_that_is_being_judged_cannot_be_promoted(loop: Loop) -> None:
    loop.train("all")
    job = planted.request(loop.worker)
    planted.plant(loop.worker, job, "nothing")
    assert loop.version(2)["status"] == "waiting"
    answer = loop.client.post("/model_versions/2/promote")
    assert answer.status_code == 409
    assert "is being judged" in answer.json()["detail"]


class TestInterval:
    def interval(self, loop: Loop) -> Json:
        answer = loop.client.post("/infer/calcium?image=case_4&output=json")
        body: Json = answer.json()["calcium"]["interval"]
        return body

    def calibrate(self, loop: Loop, **changes: object) -> None:
        kept = {
            "level": 0.9,
            "patients": 12,
            "quantile": 2.0,
            "coverage": 0.92,
            "key": prediction_key(loop.worker.settings),
        }
        with loop.worker.database.writing() as session:
            row = model_versions.active(session)
            assert row is not None
            row.calibration = {**kept, **changes}

    def test_too_few_patients_give_none(self, loop: Loop) -> None:
        loop.train("all")
        assert self.interval(loop) == {
            "level": 0.9,
            "patients": VALIDATION,
            "problem": "no interval: 3 validation patients, 9 are needed",
        }

    def test_comes_with_the_score(self, loop: Loop) -> None:
        loop.train("all")
        self.calibrate(loop)
        table = loop.client.post("/infer/calcium?image=case_4&output=json").json()["calcium"]
        score, found = table["total"]["agatston"], table["interval"]
        # All samples agree: a spread of 0.1, so a factor of e^0.2 of 1 + Agatston.
        assert found["low"] == pytest.approx((1 + score) / 1.2214 - 1, abs=0.1)
        assert found["high"] == pytest.approx((1 + score) * 1.2214 - 1, abs=0.1)
        assert (found["level"], found["patients"]) == (0.9, 12)

    def test_settings_that_change_predictions_end_it(self, loop: Loop) -> None:
        loop.train("all")
        self.calibrate(loop, key="other settings")
        assert "settings of predictions changed" in self.interval(loop)["problem"]
