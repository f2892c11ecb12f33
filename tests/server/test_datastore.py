"""``/datastore/``: images, labels, their info, and the pool as a whole."""

import dataclasses
import hashlib
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from app import images, jobs
from app.calcium.labels import LABELS
from app.imaging.reader import read_volume
from app.store.tables import Json
from tests.factories import make_volume, write_dicom
from tests.server.conftest import Site
from tests.server.pool import (
    add_model,
    add_prediction,
    image_bytes,
    label_array,
    label_bytes,
    read_label_bytes,
)

REVIEW: Json = {
    "status": "approved",
    "level": "easy",
    "approvedBy": "rita",
    "comment": "",
    "editTime": 1,
}
"""Verdict as the reviewer module of 3D Slicer sends it."""

UNREADABLE = ['{"a": 1e400}', '{"a": NaN}', r'{"a": "\ud800"}', r'{"client_id": "\ud800"}']
"""Objects that Python reads as JSON, but that cannot be sent on."""


def objects(site: Site) -> Json:
    body: Json = site.client.get("/datastore/?output=all").json()["objects"]
    return body


class TestImages:
    def test_an_upload_is_scored_by_the_active_model(self, site: Site) -> None:
        add_model(site.services)
        site.upload("late")
        with site.services.database.reading() as session:
            job = jobs.latest(session, "score")
        assert job is not None
        assert job.request["images"] == ["late"]

    @pytest.mark.parametrize("path", ["/datastore/", "/datastore/image"])
    def test_an_upload_without_id_takes_its_file_name(self, site: Site, path: str) -> None:
        # 3D Slicer sends the whole path on its own machine.
        files = {"file": ("/home/a b/1.2.840.113.nii.gz", image_bytes())}
        answer = site.client.put(path, files=files, data={"params": '{"client_id": "u"}'})
        assert (answer.status_code, answer.json()) == (200, {"image": "1.2.840.113"})
        assert objects(site)["1.2.840.113"]["image"]["info"]["client_id"] == "u"

    def test_the_same_upload_twice_is_no_error(self, pool: Site) -> None:
        pool.upload("case_1", seed=1)
        assert pool.stats()["total"] == 2

    def test_another_image_under_a_known_id_is_409(self, pool: Site) -> None:
        files = {"file": ("x.nii.gz", image_bytes(9))}
        assert pool.client.put("/datastore/?image=case_1", files=files).status_code == 409

    @pytest.mark.parametrize(
        ("image_id", "name", "content"),
        [
            ("../x", "x.nii.gz", image_bytes()),
            ("x", "x.exe", image_bytes()),
            ("x", "x.nii.gz", b"not an image"),
            ("x", "x.nii.gz", b""),
        ],
    )
    def test_what_is_no_image_is_refused(
        self, site: Site, image_id: str, name: str, content: bytes
    ) -> None:
        files = {"file": (name, content)}
        answer = site.client.put("/datastore/", params={"image": image_id}, files=files)
        assert answer.status_code == 422
        assert isinstance(answer.json()["detail"], str)
        assert list((site.services.settings.data / "incoming").iterdir()) == []

    def test_a_download_is_the_file_with_its_name(self, pool: Site) -> None:
        answer = pool.client.get("/datastore/image?image=case_1")
        assert answer.content == image_bytes(1)
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["content-disposition"] == 'attachment; filename="case_1.nii.gz"'

    @pytest.mark.parametrize("kind", ["SHA256:", "", "sha256:"])
    def test_head_compares_the_checksum(self, pool: Site, kind: str) -> None:
        digest = hashlib.sha256(image_bytes(1)).hexdigest()
        url = f"/datastore/image?image=case_1&check_sum={kind}"
        assert pool.client.head(url + digest).status_code == 200
        assert pool.client.head(url + "0" * 64).status_code == 404

    def test_head_of_an_unknown_image_is_404(self, pool: Site) -> None:
        assert pool.client.head("/datastore/image?image=case_1").status_code == 200
        assert pool.client.head("/datastore/image?image=nobody").status_code == 404

    @pytest.mark.parametrize("path", ["/datastore/", "/datastore/image"])
    def test_a_removed_image_is_gone_at_once(self, pool: Site, path: str) -> None:
        answer = pool.client.delete(f"{path}?id=case_1")
        assert (answer.status_code, answer.json()) == (200, {})
        assert pool.stats()["total"] == 1
        assert pool.client.get("/datastore/image?image=case_1").status_code == 404
        assert pool.client.delete(f"{path}?id=case_1").status_code == 404

    def test_info_is_merged(self, pool: Site) -> None:
        url = "/datastore/image/info?image=case_1"
        answer = pool.client.put(url, data={"info": '{"note": "calcified"}'})
        assert (answer.status_code, answer.json()) == (200, None)
        info = pool.client.get(url).json()
        assert info["note"] == "calcified"
        assert info["name"] == "case_1.nii.gz"

    @pytest.mark.parametrize("info", UNREADABLE)
    def test_info_that_cannot_be_sent_is_refused(self, pool: Site, info: str) -> None:
        answer = pool.client.put("/datastore/image/info?image=case_1", data={"info": info})
        assert answer.status_code == 422
        assert isinstance(answer.json()["detail"], str)
        assert "a" not in objects(pool)["case_1"]["image"]["info"]

    @pytest.mark.parametrize("params", UNREADABLE)
    def test_an_upload_with_such_params_is_refused(self, site: Site, params: str) -> None:
        files = {"file": ("x.nii.gz", image_bytes())}
        answer = site.client.put("/datastore/", files=files, data={"params": params})
        assert answer.status_code == 422
        assert objects(site) == {}

    def test_reserved_info_does_not_break_the_overview(self, pool: Site) -> None:
        info = {"strategy": "x", "name": "y", "ts": "z"}
        url = "/datastore/image/info?image=case_1"
        assert pool.client.put(url, data={"info": json.dumps(info)}).status_code == 200
        for _ in range(2):
            pool.client.post("/activelearning/first", json={"client_id": "u"})
        facts = objects(pool)["case_1"]["image"]["info"]
        assert facts["strategy"]["first"]["client_id"] == "u"
        assert facts["name"] == "case_1.nii.gz"

    def test_an_update_without_a_form_changes_no_name(self, pool: Site) -> None:
        url = "/datastore/image/info?image=case_1"
        assert pool.client.put(url).status_code == 200
        assert pool.client.get(url).json()["name"] == "case_1.nii.gz"


class TestSeries:
    """A DICOM series of the studies folder, which clients get as one file."""

    @pytest.fixture
    def series(self, site: Site, tmp_path: Path) -> str:
        """Return the id of the only image of a pool that is a DICOM series."""
        write_dicom(tmp_path / "studies" / "one", make_volume())
        settings = site.services.settings.model_copy(update={"studies": tmp_path / "studies"})
        services = dataclasses.replace(site.services, settings=settings)
        site.client.app.state.services = services  # type: ignore[attr-defined]  # Starlette's
        images.scan_studies(services.database, settings, now=lambda: 1.0)
        [image_id] = objects(site)
        return image_id

    def test_a_download_is_one_file_with_the_voxels_of_the_series(
        self, site: Site, series: str, tmp_path: Path
    ) -> None:
        answer = site.client.get(f"/datastore/image?image={series}")
        assert f'filename="{series}.nii.gz"' in answer.headers["content-disposition"]
        (tmp_path / "answer.nii.gz").write_bytes(answer.content)
        np.testing.assert_array_equal(read_volume(tmp_path / "answer.nii.gz").hu, make_volume().hu)

    def test_its_checksum_is_told_once_it_is_known(self, site: Site, series: str) -> None:
        content = site.client.get(f"/datastore/image?image={series}").content
        sample = site.client.post("/activelearning/first").json()
        assert sample["checksum"] == f"SHA256:{hashlib.sha256(content).hexdigest()}"
        assert sample["SeriesInstanceUID"] == series
        assert sample["Modality"] == "CT"

    def test_a_label_in_the_order_of_the_download_fits(self, site: Site, series: str) -> None:
        site.submit(series)
        assert site.stats()["completed"] == 1


class TestLabels:
    def test_no_tag_means_final_and_counts_at_once(self, pool: Site) -> None:
        answer = pool.submit("case_1")
        assert (answer["image"], answer["label"]) == ("case_1", "case_1")
        assert pool.stats() == {"total": 2, "completed": 1, "label_tags": {"final": 1}}

    def test_a_download_is_canonical_and_named(self, pool: Site, tmp_path: Path) -> None:
        pool.submit("case_1")
        answer = pool.client.get("/datastore/label?label=case_1&tag=final")
        assert answer.headers["content-disposition"] == 'attachment; filename="case_1.nrrd"'
        label = read_label_bytes(answer.content, tmp_path)
        np.testing.assert_array_equal(label.array, label_array())

    def test_any_tag_makes_the_round_trip(self, pool: Site) -> None:
        pool.submit("case_1", tag="version_1")
        assert pool.stats()["completed"] == 0
        assert pool.client.head("/datastore/label?image=case_1&tag=version_1").status_code == 200
        removed = pool.client.delete("/datastore/label?id=case_1&tag=version_1")
        assert (removed.status_code, removed.json()) == (200, {})
        assert pool.stats()["label_tags"] == {}
        assert pool.client.head("/datastore/label?image=case_1&tag=version_1").status_code == 404

    @pytest.mark.parametrize("params", UNREADABLE)
    def test_a_label_with_params_that_cannot_be_sent_is_refused(
        self, pool: Site, params: str
    ) -> None:
        files = {"label": ("label.nrrd", label_bytes())}
        url = "/datastore/label?image=case_1"
        answer = pool.client.put(url, files=files, data={"params": params})
        assert answer.status_code == 422

    def test_removing_an_absent_label_is_no_error(self, pool: Site) -> None:
        assert pool.client.delete("/datastore/label?id=case_1&tag=final").json() == {}

    def test_info_keeps_what_the_client_said(self, pool: Site) -> None:
        params = {"client_id": "reader-1", "model": "calcium", "label_info": []}
        pool.submit("case_1", params=json.dumps(params))
        info = pool.client.get("/datastore/label/info?label=case_1&tag=final").json()
        assert info["client_id"] == "reader-1"
        assert info["model"] == "calcium"
        assert info["name"] == "case_1.nrrd"

    @pytest.mark.parametrize(
        ("path", "field"), [("updatelabelinfo", "params"), ("label/info", "info")]
    )
    def test_a_review_is_kept(self, pool: Site, path: str, field: str) -> None:
        pool.submit("case_1")
        review = {"segmentationMeta": REVIEW}
        answer = pool.client.put(
            f"/datastore/{path}?label=case_1&tag=final", data={field: json.dumps(review)}
        )
        assert (answer.status_code, answer.json()) == (200, None)
        info = objects(pool)["case_1"]["labels"]["final"]["info"]
        assert info["segmentationMeta"] == REVIEW

    @pytest.mark.parametrize(
        "review", ["approved", None, {}, {key: REVIEW[key] for key in list(REVIEW)[1:]}]
    )
    def test_a_review_that_no_reviewer_can_read_is_refused(self, pool: Site, review: Json) -> None:
        pool.submit("case_1")
        url = "/datastore/updatelabelinfo?label=case_1&tag=final"
        answer = pool.client.put(url, data={"params": json.dumps({"segmentationMeta": review})})
        assert answer.status_code == 422
        assert "approvedBy" in answer.json()["detail"]
        assert "segmentationMeta" not in objects(pool)["case_1"]["labels"]["final"]["info"]

    @pytest.mark.parametrize(
        ("url", "status"),
        [
            ("/datastore/label?image=nobody", 404),
            ("/datastore/label?image=case_1&tag=../../x", 422),
        ],
    )
    def test_a_label_without_a_place_is_refused(self, pool: Site, url: str, status: int) -> None:
        answer = pool.client.put(url, files={"label": ("label.nrrd", label_bytes())})
        assert answer.status_code == status

    @pytest.mark.parametrize(
        "url",
        [
            "/datastore/label?label=case_1&tag=final",
            "/datastore/label?label=nobody&tag=final",
            "/datastore/label?label=case_1&tag=original",
            "/datastore/label/info?label=case_1&tag=final",
        ],
    )
    def test_an_absent_label_is_404(self, pool: Site, url: str) -> None:
        assert pool.client.get(url).status_code == 404

    def test_a_review_of_a_prediction_is_kept_with_it(self, pool: Site) -> None:
        # The reviewer module tells its verdict for every tag of an image.
        add_prediction(pool.services, "case_1", add_model(pool.services))
        url = "/datastore/updatelabelinfo?label=case_1&tag=original"
        answer = pool.client.put(url, data={"params": json.dumps({"segmentationMeta": REVIEW})})
        assert answer.status_code == 200
        info = pool.client.get("/datastore/label/info?label=case_1&tag=original").json()
        assert info["segmentationMeta"] == REVIEW
        assert info["params"]["label_names"] == LABELS

    def test_a_prediction_has_an_info_before_it_is_kept(self, pool: Site) -> None:
        add_prediction(pool.services, "case_1", add_model(pool.services))
        url = "/datastore/label/info?label=case_1&tag=original"
        assert pool.client.get(url).json()["params"]["label_names"] == LABELS
        assert pool.client.head("/datastore/label?image=case_1&tag=original").status_code == 200
        assert pool.client.head("/datastore/label?image=case_2&tag=original").status_code == 404
        assert pool.stats()["label_tags"] == {}

    def test_the_prediction_is_the_original_label(self, pool: Site, tmp_path: Path) -> None:
        add_prediction(pool.services, "case_1", add_model(pool.services))
        answer = pool.client.get("/datastore/label?label=case_1&tag=original")
        label = read_label_bytes(answer.content, tmp_path)
        np.testing.assert_array_equal(label.array, label_array())


class TestOverview:
    def test_has_the_shape_the_reviewer_parses(self, pool: Site) -> None:
        pool.submit("case_1", tag="version_1")
        entry = objects(pool)["case_1"]
        assert entry["image"]["info"]["name"] == "case_1.nii.gz"
        assert isinstance(entry["image"]["info"]["ts"], int)
        assert entry["labels"]["version_1"]["ext"] == ".nrrd"
        assert "info" in entry["labels"]["version_1"]

    def test_shows_predictions_as_original_labels(self, pool: Site) -> None:
        add_prediction(pool.services, "case_1", add_model(pool.services))
        entries = objects(pool)
        # 3D Slicer reads the names with `.keys()`.
        assert entries["case_1"]["labels"]["original"]["info"]["params"]["label_names"] == LABELS
        assert entries["case_2"]["labels"] == {}

    def test_pairs_for_training_are_names(self, pool: Site) -> None:
        pool.submit("case_2")
        [pair] = pool.client.get("/datastore/?output=train").json()
        assert set(pair) == {"image", "label"}
        assert str(pool.services.settings.data) not in str(pair)

    def test_a_data_set_holds_images_labels_and_what_is_known(self, pool: Site) -> None:
        pool.submit("case_1")
        answer = pool.client.get("/datastore/dataset?limit_cases=5")
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            assert "metadata.json" in archive.namelist()
            assert "image/case_1.nii.gz" in archive.namelist()
        assert 'filename="dataset.zip"' in answer.headers["content-disposition"]
        assert list((pool.services.settings.data / "incoming").iterdir()) == []

    def test_no_data_set_without_labels(self, pool: Site) -> None:
        assert pool.client.get("/datastore/dataset").status_code == 404
