"""``/infer/{model}``: mask and calcium table of one image."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from httpx2 import Response

from app.calcium.labels import CALCIUM_LABELS, LABELS
from app.imaging.geometry import same_grid
from app.store.tables import JobRow, Json, PredictionRow
from tests.factories import make_grid
from tests.server.conftest import Site
from tests.server.fake_worker import working
from tests.server.forms import read_form
from tests.server.pool import (
    SAMPLES,
    SCORES,
    add_model,
    add_prediction,
    image_bytes,
    label_array,
    label_bytes,
    read_label_bytes,
)


@pytest.fixture
def predicted(pool: Site) -> Site:
    """Return a pool in which the active model has predicted case_1."""
    add_prediction(pool.services, "case_1", add_model(pool.services))
    return pool


def infer(site: Site, query: str, params: Mapping[str, object] | None = None) -> Response:
    return site.client.post(f"/infer/calcium?{query}", data={"params": json.dumps(params or {})})


def session_answer(site: Site, job: JobRow) -> Json:
    """Return what a worker answers for the image of a session."""
    assert job.request["session"]
    digest = site.services.files.put(label_bytes(), ".nrrd")
    return {"sha256": digest, "scores": SCORES, "agatston_samples": SAMPLES, "seconds": 0.5}


def test_the_form_is_read_by_the_parser_of_the_stock_client(predicted: Site) -> None:
    answer = infer(predicted, "image=case_1", {"result_extension": ".nrrd"})
    fields, files = read_form(answer)
    assert set(fields) == {"params"}
    [name] = files
    assert name.startswith("caclabel_")
    assert name.endswith(".nrrd")


def test_the_answer_is_whole_and_not_chunked(predicted: Site) -> None:
    answer = infer(predicted, "image=case_1")
    assert answer.headers["content-length"] == str(len(answer.content))
    assert "transfer-encoding" not in answer.headers


@pytest.mark.parametrize("extension", [".nrrd", ".nii", ".nii.gz"])
def test_mask_is_on_the_grid_of_the_image(predicted: Site, tmp_path: Path, extension: str) -> None:
    query = "image=case_1&output=image"
    answer = infer(predicted, query, {"result_extension": extension, "result_dtype": "uint8"})
    mask = read_label_bytes(answer.content, tmp_path, extension)
    assert f'{extension}"' in answer.headers["content-disposition"]
    assert same_grid(mask.grid, make_grid())
    np.testing.assert_array_equal(mask.array, label_array())


def test_nrrd_is_raw_bytes_as_ohif_reads_them(predicted: Site) -> None:
    params = {"result_extension": ".nrrd", "result_compress": False}
    content = infer(predicted, "image=case_1&output=image", params).content
    header, _, data = content.partition(b"\n\n")
    assert b"encoding: raw" in header
    assert b"type: unsigned char" in header
    assert len(data) == label_array().size


def test_nrrd_is_gzipped_on_request(predicted: Site) -> None:
    params = {"result_extension": ".nrrd", "result_compress": "true"}
    content = infer(predicted, "image=case_1&output=image", params).content
    assert b"encoding: gz" in content


def test_regions_are_left_out_on_request(predicted: Site, tmp_path: Path) -> None:
    answer = infer(predicted, "image=case_1", {"structures": ["calcium"]})
    fields, files = read_form(answer)
    [content] = files.values()
    assert json.loads(fields["params"])["label_names"] == CALCIUM_LABELS
    # Two voxels of LAD calcium are all that remains.
    values, counts = np.unique(read_label_bytes(content, tmp_path).array, return_counts=True)
    assert dict(zip(values.tolist(), counts.tolist(), strict=True)) == {
        0: label_array().size - 2,
        2: 2,
    }


def test_the_answer_says_which_label_would_help_most(pool: Site) -> None:
    row_id = add_prediction(pool.services, "case_1", add_model(pool.services))
    with pool.services.database.writing() as session:
        row = session.get_one(PredictionRow, row_id)
        row.lesion_share, row.region_share = 0.2, 0.7
    table = infer(pool, "image=case_1&output=json").json()["calcium"]
    shares = {"lesion_share": 0.2, "region_share": 0.7}
    assert table["doubt"] == {**shares, "label_that_helps": "regions"}


def test_params_hold_the_calcium_table_with_its_distribution(predicted: Site) -> None:
    table = infer(predicted, "image=case_1&output=json").json()
    assert table["label_names"] == LABELS
    assert table["latencies"]["infer"] == 0.25
    assert table["calcium"]["total"]["agatston"] == 12.0
    assert table["calcium"]["risk_category"] == "11-100"
    distribution = table["calcium"]["distribution"]
    # Totals of the three samples: 10, 12 and 500.
    assert distribution["median"] == 12.0
    assert distribution["category_probabilities"][">400"] == pytest.approx(1 / 3)


def test_a_stored_prediction_needs_no_worker(predicted: Site) -> None:
    infer(predicted, "image=case_1")
    with predicted.services.database.reading() as session:
        assert session.query(JobRow).count() == 0


def test_another_image_is_predicted_by_a_worker(predicted: Site) -> None:
    def answer(job: JobRow) -> Json:
        version = job.request["model_version"]
        return {"prediction_id": add_prediction(predicted.services, job.request["image"], version)}

    with working(predicted.services.database, answer):
        table = infer(predicted, "image=case_2&output=json").json()
    assert table["calcium"]["total"]["agatston"] == 12.0


def test_the_image_of_a_session_is_predicted(predicted: Site) -> None:
    opened = predicted.client.put("/session/", files={"files": ("a.nii.gz", image_bytes())})
    query = f"image=anything&session_id={opened.json()['session_id']}"
    with working(predicted.services.database, lambda job: session_answer(predicted, job)):
        answer = infer(predicted, query)
    assert len(read_form(answer)[1]) == 1


def test_a_file_is_predicted_and_not_kept(predicted: Site) -> None:
    with working(predicted.services.database, lambda job: session_answer(predicted, job)):
        files = {"file": ("C:\\images\\a.nii.gz", image_bytes())}
        answer = predicted.client.post("/infer/calcium?image=", files=files)
    assert answer.status_code == 200
    assert list((predicted.services.settings.data / "sessions").iterdir()) == []
    assert predicted.stats()["total"] == 2


def test_a_failed_prediction_says_why(predicted: Site) -> None:
    def fail(_job: JobRow) -> Json:
        raise ValueError("the image changed on disk")

    with working(predicted.services.database, fail):
        answer = infer(predicted, "image=case_2")
    assert answer.status_code == 500
    assert answer.json() == {"detail": "the image changed on disk"}


def test_a_prediction_is_kept_as_original_on_request(predicted: Site) -> None:
    infer(predicted, "image=case_1", {"save_label": True})
    assert predicted.stats()["label_tags"] == {"original": 1}
    assert predicted.stats()["completed"] == 0


def test_who_keeps_a_prediction_is_in_the_trail_once(predicted: Site) -> None:
    for _ in range(2):
        infer(predicted, "image=case_1", {"save_label": True, "client_id": "anna"})
    infer(predicted, "image=case_1", {"client_id": "anna"})
    rows = predicted.client.get("/audit").json()
    (row,) = (row for row in rows if row["action"] == "keep prediction")
    assert (row["actor"], row["subject"]) == ("anna", "case_1")
    assert (row["change"]["tag"], row["change"]["version"]) == ("original", 1)


def test_a_prediction_never_becomes_the_label_of_a_person(predicted: Site) -> None:
    answer = infer(predicted, "image=case_1", {"save_label": True, "label_tag": "final"})
    assert answer.status_code == 422
    assert predicted.stats()["completed"] == 0


def test_without_a_model_it_tells_to_train(pool: Site) -> None:
    answer = infer(pool, "image=case_1")
    assert answer.status_code == 409
    assert "submit labels" in answer.json()["detail"]


def test_params_cannot_name_a_file_of_the_server(pool: Site) -> None:
    answer = infer(pool, "image=case_1", {"image": "/etc/passwd", "device": "cuda"})
    assert answer.status_code == 409


@pytest.mark.parametrize(
    ("path", "params", "status"),
    [
        ("/infer/calcium?image=nobody", "{}", 404),
        ("/infer/calcium?image=../../etc/passwd", "{}", 404),
        ("/infer/calcium?session_id=gone", "{}", 404),
        ("/infer/spleen?image=case_1", "{}", 404),
        ("/infer/calcium", "{}", 422),
        ("/infer/calcium?image=case_1", "[]", 422),
        ("/infer/calcium?image=case_1", "{", 422),
        ("/infer/calcium?image=case_1", '{"result_extension": ".dcm"}', 422),
        ("/infer/calcium?image=case_1&output=dicom_seg", "{}", 422),
    ],
)
def test_what_cannot_be_answered_is_refused(
    predicted: Site, path: str, params: str, status: int
) -> None:
    answer = predicted.client.post(path, data={"params": params})
    assert answer.status_code == status
    assert isinstance(answer.json()["detail"], str)
