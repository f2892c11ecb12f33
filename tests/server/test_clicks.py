"""Clicks of 3D Slicer's SmartEdit and of OHIF's point prompts."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from httpx2 import Response
from numpy.typing import NDArray

from app.calcium.labels import CALCIUM_LABELS
from app.imaging.geometry import same_grid
from app.imaging.volume import Identifiers, Volume
from app.imaging.volume_writer import write_volume
from app.store.tables import JobRow, Json, ModelVersionRow
from tests.factories import SHAPE, make_grid
from tests.server.conftest import Site
from tests.server.fake_worker import working
from tests.server.forms import read_form
from tests.server.pool import SAMPLES, SCORES, add_model, add_prediction, label_bytes
from tests.server.pool import read_label_bytes as read_mask

ON_LESION = [2, 2, 2]
"""A voxel [i, j, k] of the lesion, which the predictions of the test pool call LAD."""

ON_NOTHING = [0, 5, 4]


def lesion() -> NDArray[np.bool_]:
    """Mark the two bright voxels of the image."""
    mask = np.zeros(SHAPE, np.bool_)
    mask[2, 2, 2:4] = True
    return mask


@pytest.fixture
def image_bytes(tmp_path: Path) -> bytes:
    """Return an image of one lesion of 0.75 mm2, on the grid of the pool's labels."""
    hu = np.where(lesion(), 300, 40).astype(np.int16)
    write_volume(tmp_path / "image.nii.gz", Volume(hu, make_grid(), 120.0, Identifiers("p")))
    return (tmp_path / "image.nii.gz").read_bytes()


@pytest.fixture
def clicked(site: Site, image_bytes: bytes) -> Site:
    """Return a site with the image case_1."""
    files = {"file": ("case_1.nii.gz", image_bytes)}
    assert site.client.put("/datastore/?image=case_1", files=files).status_code == 200
    return site


@pytest.fixture
def session_id(clicked: Site, image_bytes: bytes) -> str:
    files = {"files": ("local.nii.gz", image_bytes)}
    opened: Json = clicked.client.put("/session/", files=files).json()
    return str(opened["session_id"])


def click(
    site: Site,
    params: Mapping[str, object],
    model: str = "lesion_click",
    query: str = "image=case_1&output=json",
) -> Response:
    return site.client.post(f"/infer/{model}?{query}", data={"params": json.dumps(params)})


def test_smart_edit_gets_the_island_as_value_one(clicked: Site, tmp_path: Path) -> None:
    # The keys that 3D Slicer sends.
    params = {
        "label": "LAD",
        "foreground": [ON_LESION],
        "background": [],
        "result_extension": ".nrrd",
        "result_dtype": "uint8",
        "client_id": "user-xyz",
    }
    answer = click(clicked, params, query="image=case_1")
    fields, files = read_form(answer)
    [(name, content)] = files.items()
    assert name.endswith(".nrrd")
    # 15 MB of almost only zeros become 145 kB; OHIF asks for them raw.
    assert b"encoding: gz" in content
    mask = read_mask(content, tmp_path)
    assert same_grid(mask.grid, make_grid())
    np.testing.assert_array_equal(mask.array, lesion())
    table = json.loads(fields["params"])
    assert table["label_names"] == {"LAD": 1}
    assert table["calcium"]["peak_hu"] == 300
    # 0.75 mm2 are less than the 1 mm2 that the rule takes for calcium.
    assert table["calcium"]["volume_mm3"] == 0
    assert table["lesions"][0]["click"] == ON_LESION


def test_ohif_gets_raw_voxels_without_naming_a_label(clicked: Site) -> None:
    params = {
        "foreground": [ON_LESION],
        "background": [],
        "result_extension": ".nrrd",
        "result_dtype": "uint8",
        "result_compress": False,
        "restore_label_idx": False,
    }
    header, _, voxels = click(clicked, params, query="image=case_1&output=image").content.partition(
        b"\n\n"
    )
    assert b"encoding: raw" in header
    assert b"type: unsigned char" in header
    np.testing.assert_array_equal(np.frombuffer(voxels, np.uint8).reshape(SHAPE), lesion())


def test_a_point_of_two_numbers_lies_in_the_slice_that_is_told(clicked: Site) -> None:
    table = click(clicked, {"foreground": [[2, 2]], "slice": 2}).json()
    assert table["calcium"]["peak_hu"] == 300


def test_points_may_come_as_text(clicked: Site) -> None:
    table = click(clicked, {"foreground": "[[2, 2, 2]]", "roi": ""}).json()
    assert table["calcium"]["peak_hu"] == 300


def test_pairs_of_a_roi_may_descend(clicked: Site, tmp_path: Path) -> None:
    # i from 2 down to -4, j from 99 down to 2, k ascending: of the lesion column 2 is left.
    params = {"foreground": [ON_LESION], "roi": [2, -4, 99, 2, 0, 4]}
    _, files = read_form(click(clicked, params, query="image=case_1"))
    [content] = files.values()
    np.testing.assert_array_equal(np.argwhere(read_mask(content, tmp_path).array), [[2, 2, 2]])


def test_a_click_on_nothing_is_an_empty_mask_and_no_error(clicked: Site, tmp_path: Path) -> None:
    params = {"label": "RCA", "foreground": [ON_NOTHING], "background": []}
    answer = click(clicked, params, query="image=case_1")
    assert answer.status_code == 200
    fields, files = read_form(answer)
    [content] = files.values()
    assert not read_mask(content, tmp_path).array.any()
    assert "130 HU" in json.loads(fields["params"])["message"]


def test_a_session_is_clicked_again_and_again(clicked: Site, session_id: str) -> None:
    for _ in range(2):
        query = f"image=local&session_id={session_id}&output=json"
        table = click(clicked, {"foreground": [ON_LESION]}, query=query).json()
        assert table["calcium"]["peak_hu"] == 300
    clicked.client.delete(f"/session/{session_id}")
    assert click(clicked, {"foreground": [ON_LESION]}, query=query).status_code == 404


def test_a_click_needs_neither_model_nor_worker(clicked: Site) -> None:
    click(clicked, {"foreground": [ON_LESION]})
    with clicked.services.database.reading() as session:
        assert session.query(JobRow).count() == 0


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"foreground": [[1, 2]]}, "foreground: expected voxels"),
        ({"foreground": [[1, 2, "x"]]}, "foreground: expected voxels"),
        ({"foreground": [[1, 2, None]]}, "foreground: expected voxels"),
        ({"foreground": 3}, "foreground: expected a list"),
        ({"background": "[["}, "background: expected a list"),
        ({"foreground": [[0, 0, 0]] * 501}, "at most 500"),
        ({"roi": [1, 2, 3]}, "roi: expected six numbers"),
        ({"roi": [100, 200, 0, 5, 0, 4]}, "roi: expected a box that meets the image"),
        ({"label": "LAD_region", "foreground": []}, "choose the segment LM, LAD, LCX, RCA"),
        ({"label": "spleen", "foreground": []}, "expected a label out of"),
        ({"label": "background", "foreground": []}, "choose the segment"),
        ({"save_label": True, "foreground": []}, "not kept as labels"),
    ],
)
def test_what_cannot_be_meant_is_refused(clicked: Site, params: Json, words: str) -> None:
    answer = click(clicked, params)
    assert answer.status_code == 422
    assert words in answer.json()["detail"]


@pytest.mark.parametrize(("query", "status"), [("image=nobody", 404), ("", 422)])
def test_an_image_must_be_named(clicked: Site, query: str, status: int) -> None:
    assert click(clicked, {"foreground": [ON_LESION]}, query=query).status_code == status


class TestAssigning:
    @pytest.fixture
    def predicted(self, clicked: Site) -> Site:
        add_prediction(clicked.services, "case_1", add_model(clicked.services))
        return clicked

    def test_slicer_gets_all_arteries_from_the_clicks_of_all_segments(
        self, predicted: Site, tmp_path: Path
    ) -> None:
        # In this mode 3D Slicer sends the points of every segment, whatever is selected.
        params = {"LM": [ON_LESION], "LAD": [], "RCA_region": [], "label": "LM_region"}
        answer = click(predicted, params, "lesion_assign", "image=case_1")
        fields, files = read_form(answer)
        [content] = files.values()
        expected = lesion() * np.uint8(CALCIUM_LABELS["LAD"])
        np.testing.assert_array_equal(read_mask(content, tmp_path).array, expected)
        table = json.loads(fields["params"])
        assert table["label_names"] == CALCIUM_LABELS
        assert table["lesions"][0]["artery"] == "LAD"

    def test_a_tool_of_one_segment_never_gets_another_artery(self, predicted: Site) -> None:
        params = {"label": "LCX", "foreground": [ON_LESION]}
        table = click(predicted, params, "lesion_assign").json()
        assert table["label_names"] == {"LCX": 1}
        assert table["calcium"]["volume_mm3"] == 0
        assert "sees LAD here, not LCX" in table["message"]

    def test_a_segment_can_begin_with_the_prediction(self, predicted: Site) -> None:
        params = {"label": "LAD", "foreground": [], "start": ["prediction", "nothing"]}
        table = click(predicted, params).json()
        assert table["calcium"]["peak_hu"] == 300
        other = click(predicted, {**params, "label": "RCA"}).json()
        assert "peak_hu" not in other["calcium"]

    def test_to_begin_so_takes_an_artery(self, predicted: Site) -> None:
        answer = click(predicted, {"foreground": [ON_LESION], "start": "prediction"})
        assert answer.status_code == 422
        assert "of which artery" in answer.json()["detail"]

    def test_before_a_training_it_says_what_to_do(self, clicked: Site) -> None:
        answer = click(clicked, {"foreground": [ON_LESION]}, "lesion_assign")
        assert answer.status_code == 409
        assert "lesion_click" in answer.json()["detail"]

    def test_before_a_prediction_it_says_what_to_do(self, clicked: Site) -> None:
        add_model(clicked.services)
        answer = click(clicked, {"foreground": [ON_LESION]}, "lesion_assign")
        assert answer.status_code == 409
        assert "run the model calcium" in answer.json()["detail"]

    def test_a_prediction_of_another_version_does_not_count(self, predicted: Site) -> None:
        with predicted.services.database.writing() as session:
            [version] = session.query(ModelVersionRow).all()
            version.is_active = False
        add_model(predicted.services)
        assert click(predicted, {"foreground": []}, "lesion_assign").status_code == 409

    def test_a_session_has_the_arteries_of_its_own_prediction(
        self, predicted: Site, session_id: str
    ) -> None:
        query = f"session_id={session_id}&output=json"
        params = {"foreground": [ON_LESION]}
        assert click(predicted, params, "lesion_assign", query).status_code == 409
        digest = predicted.services.files.put(label_bytes(), ".nrrd")
        result = {"sha256": digest, "scores": SCORES, "agatston_samples": SAMPLES, "seconds": 1.0}
        with working(predicted.services.database, lambda job: result):
            predicted.client.post(f"/infer/calcium?session_id={session_id}")
        table = click(predicted, params, "lesion_assign", query).json()
        assert table["lesions"][0]["artery"] == "LAD"


@pytest.mark.parametrize("model", ["lesion_click", "lesion_assign"])
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/train/{}"), ("POST", "/batch/infer/{}"), ("GET", "/model/{}")],
)
def test_what_has_no_weights_is_not_trained_or_run_alone(
    clicked: Site, model: str, method: str, path: str
) -> None:
    answer = clicked.client.request(method, path.format(model))
    assert answer.status_code == 404
    assert "only answers clicks" in answer.json()["detail"]
