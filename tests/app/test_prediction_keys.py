from sqlalchemy import select

from app.inference import find_prediction
from app.model_versions import discard_stale, request_pool_scoring
from app.prediction_keys import prediction_key
from app.store.tables import JobRow, PredictionRow
from tests.app.conftest import Deployment
from tests.app.pool import add_image, add_model_version, add_prediction


def test_every_setting_behind_a_table_is_in_the_key(deployment: Deployment) -> None:
    key = prediction_key(deployment.settings)
    changes = {"samples": 10, "seed": 1, "rule": "siemens", "mass_factor": 0.001}
    for name, value in changes.items():
        assert prediction_key(deployment.settings.model_copy(update={name: value})) != key


def test_predictions_of_other_settings_are_made_again(deployment: Deployment) -> None:
    with deployment.database.writing() as session:
        version = add_model_version(session)
        for name in ("now", "before"):
            add_image(session, name)
            row = add_prediction(session, name, version.id, uncertainty=1.0)
            row.key = prediction_key(deployment.settings) if name == "now" else "before"
        assert discard_stale(session, deployment.settings, now=1.0) == 1
        assert session.scalars(select(PredictionRow.image_id)).all() == ["now"]
        wanted = [row.request["images"] for row in session.scalars(select(JobRow))]
    assert wanted == [["before"]]


def test_predictions_of_a_process_under_other_settings_count_as_none(
    deployment: Deployment,
) -> None:
    now, before = deployment.settings, deployment.settings.model_copy(update={"samples": 10})
    with deployment.database.writing() as session:
        version = add_model_version(session)
        for name in "abc":
            add_image(session, name)
        add_prediction(session, "a", version.id, uncertainty=1.0)
        assert discard_stale(session, now, now=1.0) == 0
        # A worker that was not restarted with the server goes on predicting.
        for name in "ab":
            key = prediction_key(before)
            add_prediction(session, name, version.id, uncertainty=1.0, key=key)
        [job] = request_pool_scoring(session, now, now=2.0)
        assert job.request["images"] == ["b", "c"]
        # Each process that starts leaves its own predictions alone.
        assert discard_stale(session, now, now=3.0) == 2
        assert discard_stale(session, before, now=4.0) == 1


def test_nothing_is_queued_when_all_predictions_fit(deployment: Deployment) -> None:
    with deployment.database.writing() as session:
        assert discard_stale(session, deployment.settings, now=1.0) == 0
        assert session.scalars(select(JobRow)).all() == []


def test_an_image_predicted_under_two_settings_shows_what_was_said_last(
    deployment: Deployment,
) -> None:
    with deployment.database.writing() as session:
        version = add_model_version(session)
        add_image(session, "a")
        for key, at in (("early", 1.0), ("late", 3.0), ("between", 2.0)):
            add_prediction(session, "a", version.id, uncertainty=1.0, key=key).created_at = at
        session.flush()
        found = find_prediction(session, "a")
    assert found is not None
    assert found.key == "late"
