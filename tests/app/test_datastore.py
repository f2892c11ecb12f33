import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import select

from app import datastore, images, labels, samples
from app.calcium.labels import LABELS
from app.errors import NotFoundError
from app.imaging.labelmap import read_label_map
from app.imaging.reader import read_volume
from app.imaging.volume_writer import write_volume
from app.store.tables import ImageRow
from tests.app.conftest import Deployment
from tests.app.submitting import ALL_NAMES, submit_label
from tests.factories import make_labels, make_volume, write_dicom, write_itk


@pytest.fixture(autouse=True)
def pool(deployment: Deployment) -> None:
    """Two files and a series, ``series`` sorted before ``two``."""
    for number, name in enumerate(["one", "two"], start=1):
        write_volume(deployment.studies / f"{name}.nii.gz", make_volume(seed=number))
    write_dicom(deployment.studies / "series", make_volume(seed=3))
    images.scan_studies(deployment.database, deployment.settings, now=lambda: 100.5)


def submit(deployment: Deployment, image_id: str, *, tag: str = "final", seed: int = 0) -> None:
    path = write_itk(
        deployment.settings.data / "l.nrrd", make_labels(seed=seed), make_volume().grid
    )
    params = {**ALL_NAMES, "client_id": "anna"}
    submit_label(deployment, image_id, path, params=params, now=200.0, tag=tag)


def series_id(deployment: Deployment) -> str:
    with deployment.database.reading() as session:
        return session.scalars(select(ImageRow.id).where(ImageRow.kind == "dicom")).one()


class TestStats:
    def test_count_images_by_tag(self, deployment: Deployment) -> None:
        submit(deployment, "one")
        submit(deployment, "one")
        submit(deployment, "one", tag="version_1")
        submit(deployment, "two", tag="version_1")
        with deployment.database.reading() as session:
            found = datastore.stats(session)
        assert found == datastore.DatastoreStats(3, 1, {"final": 1, "version_1": 2})

    def test_leave_out_what_is_gone(self, deployment: Deployment) -> None:
        submit(deployment, "one")
        submit(deployment, "two")
        with deployment.database.writing() as session:
            labels.delete_label(session, "one", "final", actor="me", now=1.0)
            images.remove_image(session, "two", actor="me", now=1.0)
        with deployment.database.reading() as session:
            assert datastore.stats(session) == datastore.DatastoreStats(2, 0, {})


class TestOverview:
    def test_has_the_shape_that_viewers_parse(self, deployment: Deployment) -> None:
        submit(deployment, "one")
        with deployment.database.writing() as session:
            for _ in range(2):
                samples.assign_next(
                    session,
                    strategy="first",
                    client_id="bert",
                    options={},
                    settings=deployment.settings,
                    now=300.7,
                )
        with deployment.database.reading() as session:
            [objects] = json.loads(json.dumps(list(datastore.overview(session))))
        assert sorted(objects) == sorted(["one", "two", series_id(deployment)])
        assert objects["two"]["image"] == {
            "ext": ".nii.gz",
            "info": {
                "name": "two.nii.gz",
                "original_name": "two.nii.gz",
                "ts": 100,
                "strategy": {"first": {"ts": 300, "client_id": "bert"}},
            },
        }
        assert objects["two"]["labels"] == {}
        (tag,) = objects["one"]["labels"]
        final = objects["one"]["labels"][tag]
        assert (tag, final["ext"], final["info"]["name"]) == ("final", ".nrrd", "one.nrrd")
        assert final["info"]["client_id"] == "anna"
        assert final["info"]["label_info"][1] == {"name": "LAD", "idx": 2}

    def test_shows_the_newest_version_of_each_tag(self, deployment: Deployment) -> None:
        for tag in ("final", "version_1", "version_1"):
            submit(deployment, "one", tag=tag)
        with deployment.database.writing() as session:
            labels.update_label_info(session, "one", "version_1", {"x": 1}, actor="me", now=1.0)
            labels.delete_label(session, "one", "final", actor="me", now=1.0)
        with deployment.database.reading() as session:
            [objects] = datastore.overview(session)
        found = objects["one"]["labels"]
        assert list(found) == ["version_1"]
        assert found["version_1"]["info"]["x"] == 1

    def test_tells_no_place_on_the_server(self, deployment: Deployment) -> None:
        with deployment.database.reading() as session:
            told = [*datastore.overview(session), *datastore.train_list(session)]
        assert str(deployment.studies.parent) not in json.dumps(told)

    def test_image_info_tells_the_study(self, deployment: Deployment) -> None:
        with deployment.database.reading() as session:
            row = images.get_image(session, series_id(deployment))
            info = datastore.image_info(row)
        assert info["SeriesInstanceUID"] == row.id
        assert info["name"] == f"{row.id}.nii.gz"
        assert info["PatientID"] == "patient-1"


class TestDataset:
    def unpack(self, deployment: Deployment, tmp_path: Path, limit: int | None = None) -> Path:
        with deployment.database.reading() as session:
            datastore.dataset_zip(
                session, deployment.files, deployment.settings, tmp_path / "dataset.zip", limit
            )
        with zipfile.ZipFile(tmp_path / "dataset.zip") as archive:
            archive.extractall(tmp_path / "dataset")
        return tmp_path / "dataset"

    def label(self, path: Path) -> NDArray[np.uint8]:
        return np.asarray(read_label_map(path).array, np.uint8)

    def test_holds_the_images_with_their_newest_final_labels(
        self, deployment: Deployment, tmp_path: Path
    ) -> None:
        series = series_id(deployment)
        submit(deployment, "two", tag="version_1")
        for image_id, seed in (("one", 1), ("one", 2), (series, 3)):
            submit(deployment, image_id, seed=seed)
        folder = self.unpack(deployment, tmp_path)
        expected = [
            {"image": f"image/{name}.nii.gz", "label": f"label/{name}.nrrd"}
            for name in ("one", series)
        ]
        with deployment.database.reading() as session:
            pairs = datastore.train_list(session)
        assert sorted(pairs, key=str) == sorted(expected, key=str)
        for pair, hu, seed in zip(expected, (1, 3), (2, 3), strict=True):
            volume = read_volume(folder / pair["image"])
            np.testing.assert_array_equal(volume.hu, make_volume(seed=hu).hu)
            np.testing.assert_array_equal(
                self.label(folder / pair["label"]), make_labels(seed=seed)
            )
        metadata = json.loads((folder / "metadata.json").read_text())
        assert metadata["labels"] == LABELS
        assert {entry["id"]: entry["version"] for entry in metadata["data"]} == {
            "one": 2,
            series: 1,
        }

    def test_is_limited(self, deployment: Deployment, tmp_path: Path) -> None:
        for image_id in ("one", "two"):
            submit(deployment, image_id)
        folder = self.unpack(deployment, tmp_path, limit=1)
        assert len(list((folder / "image").iterdir())) == 1

    def test_of_nothing_is_not_found(self, deployment: Deployment, tmp_path: Path) -> None:
        with pytest.raises(NotFoundError, match="no image has a final label"):
            self.unpack(deployment, tmp_path)
