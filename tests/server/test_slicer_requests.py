"""Requests of 3D Slicer's modules, byte by byte where their bytes are odd.

The stock client class is exercised against a real server in tests/journeys; here is what it
does not do: file names with whole paths, local volumes, segmentation files, the reviewer.
"""

import json
import mimetypes
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import nibabel
import numpy as np
import pytest
import SimpleITK
from httpx2 import Response
from numpy.typing import NDArray

from app.calcium.labels import LABELS
from app.imaging.volume import Identifiers, Volume
from app.imaging.volume_writer import write_volume
from app.store.tables import Json
from tests.factories import (
    SHAPE,
    make_grid,
    make_volume,
    to_itk,
    write_dicom,
    write_itk,
)
from tests.server.conftest import Site
from tests.server.forms import read_form
from tests.server.pool import add_model, add_prediction, image_bytes, label_array, read_label_bytes

NODE_NAME = "4: CaScore 3.0 I30f  3"
"""Name that 3D Slicer gives a volume it loaded from DICOM."""

LOCAL_PATHS = ["/tmp/Slicer-dr a/tmpx1.nii.gz", "C:\\Users\\dr a\\Slicer\\tmpx1.nii.gz"]

VERDICT = {"status": "flagged", "approvedBy": "rita", "level": "hard", "comment": "", "editTime": 5}


def slicer_form(fields: Mapping[str, str], files: Mapping[str, tuple[str, bytes]]) -> Json:
    """Return the body of 3D Slicer's client: fields first, one line end too many at the end."""
    boundary = "----------lImIt_of_THE_fIle_eW_$"
    lines: list[bytes] = []
    for name, value in fields.items():
        head = f'Content-Disposition: form-data; name="{name}"'
        lines += [f"--{boundary}".encode(), head.encode(), b"", value.encode()]
    for name, (path, content) in files.items():
        head = f'Content-Disposition: form-data; name="{name}"; filename="{path}"'
        kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
        lines += [f"--{boundary}".encode(), head.encode(), f"Content-Type: {kind}".encode()]
        lines += [b"", content]
    lines += [f"--{boundary}--".encode(), b""]
    body = b"".join(line + b"\r\n" for line in lines)
    return {
        "content": body,
        "headers": {"Content-Type": f"multipart/form-data; boundary={boundary}"},
    }


def ok(answer: Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()


def upload(site: Site, node_name: str, path: str, content: bytes) -> Any:
    """Upload a volume that 3D Slicer loaded itself."""
    form = slicer_form({"params": '{"client_id": "user-xyz"}'}, {"file": (path, content)})
    # The client quotes as forms do: a blank becomes a plus.
    return ok(site.client.put("/datastore/", params={"image": node_name}, **form))


def submit(site: Site, image: str, path: str, content: bytes, params: Json) -> Any:
    form = slicer_form({"params": json.dumps(params)}, {"label": (path, content)})
    return ok(site.client.put("/datastore/label", params={"image": image}, **form))


def label_of(site: Site, image: str, folder: Path, tag: str = "final") -> NDArray[Any]:
    answer = site.client.get("/datastore/label", params={"label": image, "tag": tag})
    assert answer.status_code == 200, answer.text
    return read_label_bytes(answer.content, folder).array


def write(path: Path, array: NDArray[Any]) -> bytes:
    """Return the file of an array on the grid of every test image."""
    return write_itk(path, array, make_grid()).read_bytes()


class TestLocalVolumes:
    """Volumes that 3D Slicer loaded itself, under the names of their nodes."""

    @pytest.mark.parametrize("path", LOCAL_PATHS)
    def test_an_upload_keeps_no_path_of_the_client(self, site: Site, path: str) -> None:
        upload(site, NODE_NAME, path, image_bytes())
        objects = ok(site.client.get("/datastore/?output=all"))["objects"]
        assert len(objects) == 1
        assert "dr a" not in json.dumps(objects)

    def test_the_name_of_the_node_is_the_id_in_every_call(self, site: Site, tmp_path: Path) -> None:
        upload(site, NODE_NAME, LOCAL_PATHS[0], image_bytes())
        add_prediction_of(site, NODE_NAME)
        answer = site.client.post(f"/infer/calcium?image={NODE_NAME}", data={"params": "{}"})
        assert len(read_form(answer)[1]) == 1
        clicks = {"params": json.dumps({"foreground": [[0, 0, 0]], "label": "LAD"})}
        ok(site.client.post(f"/infer/lesion_click?image={NODE_NAME}&output=json", data=clicks))
        content = write(tmp_path / "label.nrrd", label_array())
        names = [{"name": name, "idx": value} for name, value in LABELS.items()]
        submit(site, NODE_NAME, "/tmp/x.nrrd", content, {"label_info": names})
        np.testing.assert_array_equal(label_of(site, NODE_NAME, tmp_path), label_array())
        assert site.stats()["completed"] == 1

    def test_names_that_differ_little_are_two_images(self, site: Site) -> None:
        first = upload(site, "4: CaScore", LOCAL_PATHS[0], image_bytes(1))
        second = upload(site, "4; CaScore", LOCAL_PATHS[0], image_bytes(2))
        assert first != second
        assert site.stats()["total"] == 2

    @pytest.mark.parametrize("name", ["../x", "a/b", "a\\b", ".x", "a\nb"])
    def test_a_name_that_leads_elsewhere_is_no_id(self, site: Site, name: str) -> None:
        form = slicer_form({"params": "{}"}, {"file": ("x.nii.gz", image_bytes())})
        assert site.client.put("/datastore/", params={"image": name}, **form).status_code == 422

    def test_the_slice_sent_along_names_the_series_and_is_no_image(
        self, site: Site, tmp_path: Path
    ) -> None:
        who = Identifiers("p", study_uid="1.2.3", series_uid="1.2.3.4", modality="CT")
        volume = Volume(make_volume().hu, make_grid(), 120.0, who)
        write_volume(tmp_path / "volume.nii.gz", volume)
        slices = write_dicom(tmp_path / "series", volume)
        upload(site, "other", LOCAL_PATHS[0], image_bytes_elsewhere(tmp_path))
        upload(site, NODE_NAME, LOCAL_PATHS[0], (tmp_path / "volume.nii.gz").read_bytes())
        # 3D Slicer sends the first file by name, which is any slice of the volume.
        answer = upload(site, "IMG0001", "/tmp/Slicer/IMG0001.dcm", slices[3].read_bytes())
        assert site.stats()["total"] == 2
        info = ok(site.client.get("/datastore/image/info", params={"image": NODE_NAME}))
        assert info["dicom_reference"]["SeriesInstanceUID"] == "1.2.3.4"
        assert info["dicom_reference"]["StudyInstanceUID"] == "1.2.3"
        assert answer["image"].startswith("4_CaScore")
        assert "dicom_reference" not in ok(site.client.get("/datastore/image/info?image=other"))

    @pytest.mark.parametrize("make", [lambda path: path.read_bytes(), lambda path: b"nothing"])
    def test_a_slice_of_nothing_is_refused(self, site: Site, tmp_path: Path, make: Any) -> None:
        slices = write_dicom(tmp_path / "series", make_volume())
        upload(site, "other", LOCAL_PATHS[0], image_bytes_elsewhere(tmp_path))
        form = slicer_form({"params": "{}"}, {"file": ("IMG0001.dcm", make(slices[0]))})
        answer = site.client.put("/datastore/?image=IMG0001", **form)
        assert answer.status_code == 422
        assert "single DICOM slice" in answer.json()["detail"]

    @pytest.mark.parametrize(("frames", "status"), [(1, 200), (2, 422)])
    def test_a_volume_over_time_must_be_one_volume(
        self, site: Site, tmp_path: Path, frames: int, status: int
    ) -> None:
        content = sequence(tmp_path / "sequence.nii.gz", make_volume().hu, frames)
        form = slicer_form({"params": "{}"}, {"file": ("/tmp/sequence.nii.gz", content)})
        assert site.client.put("/datastore/?image=sequence", **form).status_code == status


def sequence(path: Path, array: NDArray[Any], frames: int) -> bytes:
    """Return a NIfTI file of four dimensions on the grid of every test image."""
    repeated = np.stack([array.transpose(2, 1, 0)] * frames, axis=-1)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ make_grid().affine
    nibabel.save(nibabel.Nifti1Image(repeated, affine), path)
    return path.read_bytes()


def image_bytes_elsewhere(folder: Path) -> bytes:
    """Return an image whose slices lie half a voxel beside those of all others."""
    grid = make_grid(origin_mm=(-60.5, -110.0, 42.0))
    write_volume(folder / "elsewhere.nii.gz", make_volume(grid, seed=5))
    return (folder / "elsewhere.nii.gz").read_bytes()


def add_prediction_of(site: Site, node_name: str) -> None:
    [image_id] = ok(site.client.get("/datastore/?output=all"))["objects"]
    assert image_id != node_name
    add_prediction(site.services, image_id, add_model(site.services))


class TestSubmitting:
    def test_numbers_count_without_background_whatever_idx_says(
        self, pool: Site, tmp_path: Path
    ) -> None:
        # The labelmap is numbered in the order of the exported segments, idx in that of all.
        drawn = np.zeros(SHAPE, np.uint8)
        drawn[1, 1, 1], drawn[2, 2, 2] = 1, 2
        names = [
            {"name": "background", "idx": 1},
            {"name": "RCA", "idx": 2},
            {"name": "LM", "idx": 3},
        ]
        path = "C:\\Users\\dr a\\AppData\\Local\\Temp\\x.nrrd"
        content = write(tmp_path / "x.nrrd", drawn)
        answer = submit(pool, "case_1", path, content, {"label_info": names, "model": "calcium"})
        expected = np.where(drawn == 1, LABELS["RCA"], np.where(drawn == 2, LABELS["LM"], 0))
        np.testing.assert_array_equal(label_of(pool, "case_1", tmp_path), expected)
        # Both keys that every client reads.
        assert (answer["image"], answer["label"]) == ("case_1", "case_1")

    def test_layers_of_a_cropped_segmentation_find_their_place(
        self, pool: Site, tmp_path: Path
    ) -> None:
        # 3D Slicer crops to what is painted; where segments overlap, each layer has some.
        grid = make_grid()
        region, calcium = (np.zeros(SHAPE, np.uint8) for _ in range(2))
        region[1:4, 2:5, 2:6] = 1
        calcium[2, 3, 3:5] = 3
        layers = np.stack([region, calcium], axis=-1)[1:4, 2:5, 2:6]
        image = SimpleITK.GetImageFromArray(layers, isVector=True)
        image.SetSpacing(grid.spacing_mm[::-1])
        image.SetOrigin((grid.affine @ [2, 2, 1, 1])[:3].tolist())
        for number, (name, value) in enumerate({"LAD_region": 1, "LAD calcium": 3}.items()):
            fields = {"ID": f"Segment_{number}", "Name": name, "LabelValue": value, "Layer": number}
            for key, text in fields.items():
                image.SetMetaData(f"Segment{number}_{key}", str(text))
        SimpleITK.WriteImage(image, str(tmp_path / "x.seg.nrrd"))
        content = (tmp_path / "x.seg.nrrd").read_bytes()
        submit(pool, "case_1", "/tmp/Slicer/x.seg.nrrd", content, {"label_info": []})
        expected = np.where(region, LABELS["LAD_region"], 0)
        expected[calcium > 0] = LABELS["LAD"]
        np.testing.assert_array_equal(label_of(pool, "case_1", tmp_path), expected)

    def test_a_labelmap_of_four_dimensions_with_one_frame_is_one(
        self, pool: Site, tmp_path: Path
    ) -> None:
        names = [{"name": name, "idx": value} for name, value in LABELS.items()]
        content = sequence(tmp_path / "x.nii.gz", label_array(), 1)
        submit(pool, "case_1", "/tmp/x.nii.gz", content, {"label_info": names})
        np.testing.assert_array_equal(label_of(pool, "case_1", tmp_path), label_array())


class TestOptionsAsText:
    """3D Slicer's table of options is one of text fields."""

    def test_a_prediction_takes_them(self, pool: Site) -> None:
        add_prediction(pool.services, "case_1", add_model(pool.services))
        params = {"structures": ["calcium", "calcium and regions"], "result_compress": "False"}
        form = slicer_form({"params": json.dumps(params)}, {})
        answer = pool.client.post("/infer/calcium?image=case_1", **form)
        assert json.loads(read_form(answer)[0]["params"])["label_names"] == {
            name: LABELS[name] for name in ("LM", "LAD", "LCX", "RCA")
        }

    def test_a_training_takes_them(self, pool: Site) -> None:
        for image in ("case_1", "case_2"):
            pool.submit(image)
        task = ok(pool.client.post("/train/calcium", json={"max_epochs": "3", "client_id": "u"}))
        assert task["request"]["options"] == {"max_epochs": 3, "start": "shrink_perturb"}


class TestReviewer:
    """The reviewer module, which speaks through another library and sends no token."""

    @pytest.fixture
    def submitted(self, pool: Site) -> Site:
        names = [{"name": "LAD", "idx": 2}, {"name": "LAD_region", "idx": 6}]
        pool.submit("case_1", params=json.dumps({"label_info": names, "client_id": "reader-1"}))
        return pool

    def send_version(self, site: Site, folder: Path, tag: str) -> None:
        """Send a corrected segmentation: the file is one of segments, its name says it is not."""
        image = to_itk(label_array(), make_grid())
        for key, text in {"Name": "RCA", "LabelValue": LABELS["LAD"], "Layer": 0}.items():
            image.SetMetaData(f"Segment0_{key}", str(text))
        fields = {"Name": "RCA_region", "LabelValue": LABELS["LAD_region"], "Layer": 0}
        for key, text in fields.items():
            image.SetMetaData(f"Segment1_{key}", str(text))
        SimpleITK.WriteImage(image, str(folder / "case_1.seg.nrrd"))
        label_info = self.entry(site)["labels"]["final"]["info"]["label_info"]
        params = {"label_info": label_info, "segmentationMeta": VERDICT}
        answer = site.client.put(
            f"/datastore/label?image=case_1&tag={tag}",
            data={"params": json.dumps(params)},
            files={"label": ("case_1.nrrd", (folder / "case_1.seg.nrrd").read_bytes())},
        )
        assert answer.status_code == 200, answer.text

    @staticmethod
    def entry(site: Site) -> Json:
        found: Json = ok(site.client.get("/datastore/?output=all"))["objects"]["case_1"]
        return found

    def test_connects_and_lists_what_it_parses(self, submitted: Site) -> None:
        assert submitted.client.get("/").status_code == 200
        info = self.entry(submitted)["labels"]["final"]["info"]
        assert info["client_id"] == "reader-1"
        # The file that was submitted names every label.
        assert {segment["name"]: segment["idx"] for segment in info["label_info"]} == LABELS

    def test_downloads_image_and_label(self, submitted: Site, tmp_path: Path) -> None:
        assert submitted.client.get("/datastore/image?image=case_1").status_code == 200
        np.testing.assert_array_equal(label_of(submitted, "case_1", tmp_path), label_array())

    def test_a_verdict_comes_as_a_form_of_text(self, submitted: Site) -> None:
        answer = submitted.client.put(
            "/datastore/updatelabelinfo?label=case_1&tag=final",
            content="params=" + quoted({"segmentationMeta": VERDICT}),
            headers={
                "Content-Type": "application/x-www-form-urlencoded",
                "accept": "application/json",
            },
        )
        assert (answer.status_code, answer.json()) == (200, None)
        assert self.entry(submitted)["labels"]["final"]["info"]["segmentationMeta"] == VERDICT

    def test_a_version_has_the_names_of_its_file(self, submitted: Site, tmp_path: Path) -> None:
        # The list of segments it sends is that of the final label; the file knows better.
        self.send_version(submitted, tmp_path, "version_1")
        version = label_of(submitted, "case_1", tmp_path, "version_1")
        assert set(np.unique(version)) == {0, LABELS["RCA"], LABELS["RCA_region"]}
        np.testing.assert_array_equal(label_of(submitted, "case_1", tmp_path), label_array())
        assert self.entry(submitted)["labels"]["version_1"]["info"]["segmentationMeta"] == VERDICT

    def test_a_version_can_be_deleted(self, submitted: Site, tmp_path: Path) -> None:
        self.send_version(submitted, tmp_path, "version_1")
        answer = submitted.client.delete("/datastore/label?id=case_1&tag=version_1")
        assert answer.status_code == 200
        assert set(self.entry(submitted)["labels"]) == {"final"}


def quoted(value: Json) -> str:
    """Return a value as ``requests`` puts it into a form."""
    return quote_plus(json.dumps(value))
