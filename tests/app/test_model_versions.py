from sqlalchemy import select

from app import audit, jobs, model_versions
from app.store.tables import JobRow, ModelVersionRow
from tests.app.conftest import Deployment
from tests.app.pool import add_image, add_model_version, add_prediction
from tests.app.training.labeled import add_label


def test_activation_queues_the_scoring_of_what_is_unscored(deployment: Deployment) -> None:
    with deployment.database.writing() as session:
        for name in "abc":
            add_image(session, name)
        first = add_model_version(session, "job-1")
        add_prediction(session, "b", first.id, uncertainty=1.0)
        requests = model_versions.request_scoring(session, now=1.0)
    assert [row.request["images"] for row in requests] == [["a", "c"]]


def test_unlabeled_images_are_scored_first(deployment: Deployment) -> None:
    with deployment.database.writing() as session:
        for name in "abc":
            add_image(session, name)
        add_label(session, "a")
        add_model_version(session)
        requests = model_versions.request_scoring(session, now=1.0)
    assert requests[0].request["images"] == ["b", "c", "a"]


def test_new_images_alone_can_be_scored(deployment: Deployment) -> None:
    with deployment.database.writing() as session:
        for name in "abc":
            add_image(session, name)
        assert model_versions.request_scoring(session, now=1.0, images=["b"]) == []
        add_model_version(session)
        requests = model_versions.request_scoring(session, now=1.0, images=["b"])
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


def test_coverage_counts_the_active_version_only(deployment: Deployment) -> None:
    with deployment.database.writing() as session:
        add_image(session, "a")
        add_image(session, "b")
        assert model_versions.coverage(session) == (0, 2)
        first = add_model_version(session, "job-1")
        add_prediction(session, "a", first.id, uncertainty=1.0)
        assert model_versions.coverage(session) == (1, 2)
        add_model_version(session, "job-2")
        assert model_versions.coverage(session) == (0, 2)


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
