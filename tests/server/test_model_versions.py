"""Model versions over HTTP; what a training leaves before the judging is planted."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from sqlalchemy import select

from app import jobs, model_versions
from app.background.work import WorkContext
from app.calcium.labels import LABELS as SEGMENTS
from app.imaging.labelmap import write_label_map
from app.prediction_keys import prediction_key
from app.settings import Settings
from app.store.tables import AuditRow, JobRow, Json, PredictionRow
from server.main import create_app
from tests.app.training import planted
from tests.app.training.planted import Sees
from tests.journeys.pool import grid, tiny_labels

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

    def learn(self) -> Json:
        """Train a network on the labels there are, as a worker does, for one epoch."""
        options = {"client_id": "dr-a", "max_epochs": 1, "start": "fresh"}
        answer = self.client.post("/train/calcium", json=options)
        assert answer.status_code == 200, answer.text
        with self.worker.database.writing() as session:
            jobs.start(session, answer.json()["id"], "worker-0", now=3.0)
            job = jobs.get_job(session, answer.json()["id"])
        _, result = planted.run(self.worker, job)
        return self.version(int(result["model_version"]))

    def empty_labels(self, folder: Path) -> None:
        """Submit for every image that is trained on that there is no calcium in it."""
        for number in range(LABELS - VALIDATION):
            labels = tiny_labels(number)
            labels[labels == SEGMENTS["LAD"]] = SEGMENTS["LAD_region"]
            path = folder / "wrong.nrrd"
            write_label_map(path, labels, grid(), compress=True, names=SEGMENTS)
            answer = self.client.put(
                f"/datastore/label?image=case_{number}",
                files={"label": ("label.nrrd", path.read_bytes())},
                data={"params": "{}"},
            )
            assert answer.status_code == 200, answer.text

    def agatston(self) -> float:
        """Return the total score that the version which answers sees in a validation image."""
        table = self.client.post("/infer/calcium?image=case_4&output=json").json()
        return float(table["calcium"]["total"]["agatston"])

    def promote_three(self) -> None:
        """Let three versions answer, one after the other, without judging them."""
        for number in range(1, 4):
            row = planted.plant(self.worker, planted.queue(self.worker), "all")
            with self.worker.database.writing() as session:
                jobs.finish(session, row.job_id, "done", [], now=4.0)
                model_versions.activate(
                    session, self.worker.settings, number, actor="worker", now=4.0, reason=""
                )

    def roll_back(self, version: int) -> Response:
        """Go back from a version."""
        change = {"client_id": "dr-b", "expected_active": version}
        return self.client.post("/model_versions/rollback", json=change)

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

    back = loop.roll_back(2)
    assert (back.status_code, back.json()["id"]) == (200, 1)
    assert back.json()["reason"] == "rolled back by dr-b from version 2"
    assert loop.version(2)["status"] == "former"
    assert loop.audit() == [
        ("worker", "promote", "model version 1"),
        ("worker", "keep back", "model version 2"),
        ("dr-b", "promote", "model version 2"),
        ("dr-b", "rollback", "model version 1"),
    ]


@pytest.mark.slow
def test_a_version_that_learned_from_wrong_labels_is_refused(loop: Loop, tmp_path: Path) -> None:
    first = loop.learn()
    assert first["status"] == "active"
    assert first["metrics"]["volume_f1"] > 0.5, "it learned nothing that could be lost"
    loop.empty_labels(tmp_path)
    worse = loop.learn()
    assert worse["status"] == "kept back"
    assert worse["metrics"]["volume_f1"] < first["metrics"]["volume_f1"] - 0.3
    assert worse["decision"]["champion_id"] == first["id"]
    assert loop.client.get("/model/info/calcium").json()["version"] == first["id"]

    promoted = loop.client.post("/model_versions/2/promote", json={"expected_active": 1})
    assert promoted.status_code == 200
    assert loop.agatston() == 0
    assert loop.roll_back(2).json()["id"] == first["id"]
    assert loop.agatston() > 0


def test_what_a_version_predicted_before_is_used_again_after_a_rollback(loop: Loop) -> None:
    loop.train("all")
    held_out = {f"case_{number}" for number in range(LABELS - VALIDATION, LABELS)}
    with loop.worker.database.reading() as session:
        before = set(session.scalars(select(PredictionRow.id)))
    loop.train("nothing")
    loop.client.post("/model_versions/2/promote")
    loop.roll_back(2)
    # What both judgings predicted is not asked for again.
    assert not held_out & set(loop.score_jobs(1))
    with loop.worker.database.reading() as session:
        assert before <= set(session.scalars(select(PredictionRow.id)))
    table = loop.client.post("/infer/calcium?image=case_4&output=json").json()
    assert table["calcium"]["total"]["agatston"] > 0


def test_rolling_back_goes_down_to_the_first_version(loop: Loop) -> None:
    loop.promote_three()
    assert [row["id"] for row in loop.client.get("/model_versions/").json()] == [3, 2, 1]
    for version, below in ((3, 2), (2, 1)):
        assert loop.roll_back(version).json()["id"] == below
    answer = loop.roll_back(1)
    assert answer.status_code == 409
    assert answer.json()["detail"] == "no model version answered before this one"
    assert loop.version(1)["status"] == "active"


def test_a_rollback_that_arrives_twice_goes_back_once(loop: Loop) -> None:
    loop.promote_three()
    assert [loop.roll_back(3).status_code for _ in range(2)] == [200, 409]
    assert loop.version(2)["status"] == "active"
    detail = loop.roll_back(3).json()["detail"]
    assert detail == "model version 2 answers, not 3; look again"
    assert loop.audit()[-2:] == [
        ("worker", "promote", "model version 3"),
        ("dr-b", "rollback", "model version 2"),
    ]


def test_a_rollback_says_from_where(loop: Loop) -> None:
    loop.promote_three()
    answer = loop.client.post("/model_versions/rollback", json={"client_id": "dr-b"})
    assert answer.status_code == 422
    assert "expected_active" in answer.text
    assert loop.version(3)["status"] == "active"


def test_a_promotion_over_another_version_than_was_seen_is_refused(loop: Loop) -> None:
    loop.promote_three()
    loop.roll_back(3)
    # A colleague went back to 2 while somebody who still sees 3 promotes 1.
    change = {"client_id": "dr-c", "expected_active": 3}
    refused = loop.client.post("/model_versions/1/promote", json=change)
    assert refused.status_code == 409
    assert refused.json()["detail"] == "model version 2 answers, not 3; look again"
    change["expected_active"] = 2
    assert loop.client.post("/model_versions/1/promote", json=change).status_code == 200
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

    def test_is_compared_with_the_labels_that_come_later(self, loop: Loop) -> None:
        version = loop.train("all")
        self.calibrate(loop)
        found = loop.client.get(f"/model_versions/{version['id']}/coverage").json()
        assert found["level"] == 0.9
        assert found["labeled"]["patients"] == 0
        assert loop.client.get("/model_versions/99/coverage").status_code == 404
