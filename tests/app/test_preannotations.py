"""Which prediction is shown as the label of the tag ``original``."""

import pytest

from app import labels, preannotations
from app.store.tables import Json
from tests.app.conftest import Deployment
from tests.app.pool import add_image, add_model_version, add_prediction


@pytest.fixture(autouse=True)
def pool(deployment: Deployment) -> None:
    with deployment.database.writing() as session:
        add_image(session, "a")


def predict(deployment: Deployment, job_id: str, content: bytes) -> None:
    """Let a new model version answer, and predict the image with it."""
    with deployment.database.writing() as session:
        row = add_prediction(session, "a", add_model_version(session, job_id).id, uncertainty=0.0)
        row.sha256 = deployment.files.put(content, ".nrrd")


def keep(deployment: Deployment) -> None:
    with deployment.database.writing() as session:
        preannotations.keep(session, deployment.files, "a", "original", now=1.0)


def shown(deployment: Deployment) -> bytes:
    with deployment.database.reading() as session:
        path = preannotations.label_file(session, deployment.files, "a", "original")
        return path.read_bytes()


def told(deployment: Deployment) -> Json:
    entries: Json = {"a": {"labels": {"original": {"info": {"ts": -1}}}}}
    with deployment.database.reading() as session:
        preannotations.add_predictions(session, entries)
    info: Json = entries["a"]["labels"]["original"]["info"]
    return info


def test_a_kept_prediction_gives_way_to_the_next_model(deployment: Deployment) -> None:
    predict(deployment, "job-1", b"first")
    keep(deployment)
    predict(deployment, "job-2", b"second")
    assert shown(deployment) == b"second"
    assert told(deployment)["model"] == "calcium"


def test_a_judged_prediction_stays(deployment: Deployment) -> None:
    predict(deployment, "job-1", b"first")
    keep(deployment)
    meta = dict.fromkeys(("status", "level", "approvedBy", "comment", "editTime"), "")
    with deployment.database.writing() as session:
        verdict = {"segmentationMeta": meta}
        labels.update_label_info(session, "a", "original", verdict, actor="rita", now=2.0)
    predict(deployment, "job-2", b"second")
    assert shown(deployment) == b"first"
    assert told(deployment) == {"ts": -1}


def test_a_kept_prediction_is_shown_until_the_next_model_has_seen_the_image(
    deployment: Deployment,
) -> None:
    predict(deployment, "job-1", b"first")
    keep(deployment)
    with deployment.database.writing() as session:
        add_model_version(session, "job-2")
    assert shown(deployment) == b"first"
