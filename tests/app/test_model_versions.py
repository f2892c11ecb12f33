import pytest
from sqlalchemy import delete, select

from app import audit, jobs, model_versions
from app.errors import ConflictError, NotFoundError, NotReadyError
from app.store.tables import JobRow, ModelVersionRow
from tests.app.conftest import Deployment
from tests.app.pool import SETTINGS, add_image, add_model_version, add_prediction
from tests.app.training.labeled import add_label


def test_activation_queues_the_scoring_of_what_is_unscored(deployment: Deployment) -> None:
    with deployment.database.writing() as session:
        for name in "abc":
            add_image(session, name)
        first = add_model_version(session, "job-1")
        add_prediction(session, "b", first.id, uncertainty=1.0)
        requests = model_versions.request_pool_scoring(session, SETTINGS, now=1.0)
    assert [row.request["images"] for row in requests] == [["a", "c"]]


def test_unlabeled_images_are_scored_first(deployment: Deployment) -> None:
    with deployment.database.writing() as session:
        for name in "abc":
            add_image(session, name)
        add_label(session, "a")
        add_model_version(session)
        requests = model_versions.request_pool_scoring(session, SETTINGS, now=1.0)
    assert requests[0].request["images"] == ["b", "c", "a"]


def test_new_images_alone_can_be_scored(deployment: Deployment) -> None:
    with deployment.database.writing() as session:
        for name in "abc":
            add_image(session, name)
        assert model_versions.request_scoring(session, ["b"], now=1.0) == []
        add_model_version(session)
        requests = model_versions.request_scoring(session, ["b"], now=1.0)
    assert [row.request["images"] for row in requests] == [["b"]]


def test_one_version_answers_at_a_time(deployment: Deployment) -> None:
    with deployment.database.writing() as session:
        add_model_version(session, "job-1")
        second = add_model_version(session, "job-2")
        active = session.scalars(select(ModelVersionRow).where(ModelVersionRow.is_active)).all()
        assert active == [second]
        change = audit.recent(session)[0].change
    assert (change["before"], change["after"]) == (1, 2)


def test_scoring_goes_in_chunks(deployment: Deployment) -> None:
    count = 2 * model_versions.SCORE_CHUNK + 1
    with deployment.database.writing() as session:
        for number in range(count):
            add_image(session, f"image-{number:03}")
        add_model_version(session)
        chunks = session.scalars(select(JobRow).where(JobRow.kind == "score")).all()
    assert sorted(len(row.request["images"]) for row in chunks) == [1, 32, 32]


def test_train_stats_tell_of_a_finished_training(deployment: Deployment) -> None:
    with deployment.database.writing() as session:
        assert model_versions.train_stats(session) == {}
        job = jobs.request_job(session, "train", {}, now=1.0)
        jobs.start(session, job.id, "worker-0", now=2.0)
        assert "total_time" not in model_versions.train_stats(session)
        result = {"stats": {"best_metric": 0.8}}
        jobs.finish(session, job.id, "done", [], now=5.0, result=result)
        assert model_versions.train_stats(session) == {
            "best_metric": 0.8,
            "start_ts": 2,
            "total_time": 3.0,
        }


class TestStack:
    def versions(self, deployment: Deployment, count: int) -> None:
        folder = deployment.settings.data / "models"
        folder.mkdir()
        with deployment.database.writing() as session:
            for number in range(1, count + 1):
                (folder / f"job-{number}.safetensors").write_bytes(b"")
                add_model_version(session, f"job-{number}")

    def promote(self, deployment: Deployment, version_id: int) -> None:
        with deployment.database.writing() as session:
            model_versions.promote(
                session, deployment.settings, version_id, actor="a", now=1.0, reason=""
            )

    def roll_back(self, deployment: Deployment) -> int:
        with deployment.database.writing() as session:
            current = model_versions.active(session)
            assert current is not None
            return model_versions.roll_back(
                session,
                deployment.settings,
                expected_active=current.id,
                actor="a",
                now=1.0,
                reason="",
            ).id

    def test_rollbacks_go_down_in_the_order_of_promotion(self, deployment: Deployment) -> None:
        self.versions(deployment, 3)
        self.promote(deployment, 1)
        # 1, 2, 3 and 1 again: below the second 1 lie 3, 2 and the first 1.
        assert [self.roll_back(deployment) for _ in range(3)] == [3, 2, 1]
        with pytest.raises(NotReadyError, match="no model version answered before"):
            self.roll_back(deployment)

    def test_a_promotion_after_a_rollback_lies_on_what_answered_then(
        self, deployment: Deployment
    ) -> None:
        self.versions(deployment, 3)
        assert self.roll_back(deployment) == 2
        self.promote(deployment, 3)
        assert [self.roll_back(deployment) for _ in range(2)] == [2, 1]

    def test_the_active_version_cannot_be_promoted_again(self, deployment: Deployment) -> None:
        self.versions(deployment, 1)
        with pytest.raises(ConflictError, match="answers already"):
            self.promote(deployment, 1)

    def test_versions_without_weights_stay_where_they_are(self, deployment: Deployment) -> None:
        self.versions(deployment, 2)
        (deployment.settings.data / "models" / "job-1.safetensors").unlink()
        with pytest.raises(NotFoundError, match="weights of model version 1 are gone"):
            self.roll_back(deployment)


def test_scoring_begins_with_the_top_of_the_last_ranking(deployment: Deployment) -> None:
    with deployment.database.writing() as session:
        for name in "abcde":
            add_image(session, name)
        add_label(session, "b")
        first = add_model_version(session, "job-1")
        for name, uncertainty in (("a", 0.1), ("b", 0.9), ("c", 0.5), ("d", 0.3)):
            add_prediction(session, name, first.id, uncertainty=uncertainty)
        second = add_model_version(session, "job-2")
        queued = session.scalars(select(JobRow).where(JobRow.kind == "score")).all()
    [request] = [job.request for job in queued if job.request["model_version"] == second.id]
    # What no version has ranked comes behind what one did, labeled images last.
    assert request["images"] == ["c", "d", "a", "e", "b"]


def test_chunks_of_the_ranking_are_taken_in_its_order(deployment: Deployment) -> None:
    count = 3 * model_versions.SCORE_CHUNK
    with deployment.database.writing() as session:
        for number in range(count):
            add_image(session, f"image-{number:03}")
        first = add_model_version(session, "job-1")
        for number in range(count):
            add_prediction(session, f"image-{number:03}", first.id, uncertainty=float(number))
        session.execute(delete(JobRow))
        second = add_model_version(session, "job-2")
        assert second.is_active
        waiting = [job.request["images"] for job in jobs.undispatched(session)]
    assert [image for images in waiting for image in images] == [
        f"image-{number:03}" for number in reversed(range(count))
    ]
