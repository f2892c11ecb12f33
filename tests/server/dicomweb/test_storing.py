"""What a viewer stores: segmentations become labels, the rest is the business of a PACS."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from app import images
from app.calcium.labels import LABELS
from app.imaging.dicom.derivation import Derivation
from app.imaging.dicom.segmentation import write_segmentation
from app.imaging.reader import read_volume
from app.pacs.retrieval import series_folder
from app.settings import Settings
from app.store.tables import ImageRow, LabelRow
from server.dependencies import Services
from server.main import create_app
from tests.factories import write_dicom
from tests.orthanc import OrthancServer, orthanc
from tests.server.dicomweb.conftest import SERIES, STUDY, series_volume, write_pool

BRIGHT_HU = 130

ROOT = "/proxy/dicom/stow"

_DERIVATION = Derivation("seed", 0.0)


@dataclass(frozen=True)
class Deployment:
    """A server with a pool of its own."""

    client: TestClient
    studies: Path

    def store(self, *instances: bytes, study_uid: str = "") -> Any:
        """Store instances as OHIF does."""
        head = b"--edge\r\nContent-Type: application/dicom\r\n\r\n"
        body = b"".join(head + content + b"\r\n" for content in instances) + b"--edge--\r\n"
        headers = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=edge'}
        path = f"{ROOT}/studies/{study_uid}".rstrip("/")
        return self.client.post(path, content=body, headers=headers)

    def labels(self) -> dict[str, Any]:
        """Return the labels of each image that has one."""
        objects = self.client.get("/datastore/?output=all").json()["objects"]
        return {image_id: entry["labels"] for image_id, entry in objects.items() if entry["labels"]}

    def versions(self) -> list[int]:
        """Return the versions of all labels."""
        services: Services = self.client.app.state.services  # type: ignore[attr-defined]  # FastAPI
        with services.database.reading() as session:
            return list(session.scalars(select(LabelRow.version).order_by(LabelRow.id)))


@pytest.fixture
def deployment(tmp_path: Path, empty_database: Path) -> Iterator[Deployment]:
    data = tmp_path / "data"
    data.mkdir()
    shutil.copy(empty_database, data / "caclabel.sqlite")
    studies = write_pool(tmp_path / "studies")
    application = create_app(Settings(data=data, studies=studies))
    services: Services = application.state.services
    with TestClient(application, raise_server_exceptions=False) as client:
        images.scan_studies(services.database, services.settings, now=lambda: 1000.0)
        yield Deployment(client, studies)


def segmentation(
    studies: Path, folder: str = "series-1", derivation: Derivation = _DERIVATION
) -> bytes:
    """Return a segmentation of a slice's bright voxels as calcium in the LAD."""
    paths = sorted((studies / folder).glob("*.dcm"))
    hu = read_volume(studies / folder).hu
    labels = np.zeros(hu.shape, np.uint8)
    labels[1][hu[1] >= BRIGHT_HU] = LABELS["LAD"]
    return write_segmentation(paths, labels, derivation)


def sop_uid(content: bytes) -> str:
    return str(pydicom.dcmread(BytesIO(content)).SOPInstanceUID)


def uids(answer: Any, sequence: str) -> Sequence[str]:
    items = answer.json().get(sequence, {}).get("Value", [])
    return [item["00081155"]["Value"][0] for item in items]


DOWN = "http://127.0.0.1:9/dicom-web"

STORED, FAILED = "00081199", "00081198"


def test_a_segmentation_becomes_the_final_label(deployment: Deployment) -> None:
    content = segmentation(deployment.studies)
    answer = deployment.store(content)
    assert answer.status_code == 200, answer.text
    assert uids(answer, STORED) == [sop_uid(content)]
    assert answer.json()["00081190"]["Value"] == [f"/proxy/dicom/wado/studies/{STUDY}"]
    assert set(deployment.labels()) == {SERIES[0]}
    assert "final" in deployment.labels()[SERIES[0]]


def test_storing_again_makes_no_second_version(deployment: Deployment) -> None:
    content = segmentation(deployment.studies)
    assert [deployment.store(content).status_code for _ in range(2)] == [200, 200]
    listed = deployment.client.get("/datastore/?output=all").json()["objects"][SERIES[0]]
    assert set(listed["labels"]) == {"final"}


def test_what_was_sent_as_a_label_file_is_known(deployment: Deployment) -> None:
    content = segmentation(deployment.studies)
    sent = deployment.client.put(
        f"/datastore/label?image={SERIES[0]}",
        files={"label": ("drawn.dcm", content)},
        data={"params": "{}"},
    )
    assert sent.status_code == 200, sent.text
    assert deployment.store(content).status_code == 200
    assert deployment.versions() == [1]


def test_a_segmentation_that_broke_off_is_refused(deployment: Deployment) -> None:
    content = segmentation(deployment.studies)
    broken = content[: content.index(b"\x20\x00\x13\x91")]  # before the first place of a frame
    assert deployment.store(broken).status_code == 409
    sent = deployment.client.put(
        f"/datastore/label?image={SERIES[0]}",
        files={"label": ("drawn.dcm", broken)},
        data={"params": "{}"},
    )
    assert sent.status_code == 422
    assert deployment.labels() == {}
    assert deployment.store(content).status_code == 200
    assert set(deployment.labels()) == {SERIES[0]}


def test_one_bad_instance_does_not_lose_the_good_one(deployment: Deployment) -> None:
    good, image = segmentation(deployment.studies), deployment.studies / "series-1" / "0001.dcm"
    answer = deployment.store(b"no DICOM", good, image.read_bytes())
    assert answer.status_code == 202
    assert uids(answer, STORED) == [sop_uid(good)]
    reasons = [item["00081197"]["Value"][0] for item in answer.json()[FAILED]["Value"]]
    # Cannot understand, SOP class not supported.
    assert reasons == [0xC000, 0x0122]
    assert "segmentations only" in answer.headers["warning"]
    assert set(deployment.labels()) == {SERIES[0]}


def test_a_segmentation_of_something_else_is_refused(
    deployment: Deployment, tmp_path: Path
) -> None:
    write_dicom(tmp_path / "elsewhere", series_volume(7, "1.2.840.7.1", "1.2.840.7"))
    answer = deployment.store(segmentation(tmp_path, "elsewhere"))
    assert answer.status_code == 409
    assert len(answer.json()[FAILED]["Value"]) == 1
    assert "not in the pool" in answer.headers["warning"]
    assert deployment.labels() == {}


def test_an_instance_of_another_study_than_the_address_is_refused(deployment: Deployment) -> None:
    content = segmentation(deployment.studies)
    assert deployment.store(content, study_uid="1.2.3").status_code == 409
    assert deployment.labels() == {}
    assert deployment.store(content, study_uid=STUDY).status_code == 200


def test_a_body_that_is_no_multipart_is_refused(deployment: Deployment) -> None:
    answer = deployment.client.post(f"{ROOT}/studies", content=b"x")
    assert answer.status_code == 422
    assert "multipart/related" in answer.json()["detail"]


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrthancServer]:
    with orthanc(tmp_path_factory.mktemp("orthanc")) as server:
        yield server


class TestWithAPacs:
    @pytest.fixture
    def connected(self, deployment: Deployment, pacs: OrthancServer) -> Deployment:
        """Return a server whose pool came from a folder, and whose PACS is an Orthanc now."""
        self.point_to(deployment, pacs.url)
        return deployment

    @staticmethod
    def point_to(deployment: Deployment, url: str, *, exports: bool = False) -> None:
        application = deployment.client.app
        services: Services = application.state.services  # type: ignore[attr-defined]  # FastAPI
        chosen = Settings.model_validate({**services.settings.model_dump(), "pacs_export": exports})
        chosen = Settings.model_validate({**chosen.model_dump(), "studies": url})
        # As if the series had come from there, and the first of them were in the cache.
        shutil.copytree(deployment.studies / "series-1", series_folder(chosen, SERIES[0]))
        with services.database.writing() as session:
            for row in session.query(ImageRow).filter(ImageRow.kind == "dicom"):
                row.source, row.path = "dicomweb", f"{row.study_uid}/{row.series_uid}"
        pointed = replace(services, settings=chosen)
        application.state.services = pointed  # type: ignore[attr-defined]  # FastAPI

    def test_what_is_no_segmentation_goes_to_the_pacs(
        self, connected: Deployment, pacs: OrthancServer
    ) -> None:
        content = (connected.studies / "series-2" / "0001.dcm").read_bytes()
        assert connected.store(content).status_code == 200
        assert pacs.find("Instance", SOPInstanceUID=sop_uid(content))

    def test_a_segmentation_of_an_unknown_series_goes_to_the_pacs(
        self, connected: Deployment, pacs: OrthancServer, tmp_path: Path
    ) -> None:
        write_dicom(tmp_path / "elsewhere", series_volume(7, "1.2.840.7.1", "1.2.840.7"))
        content = segmentation(tmp_path, "elsewhere")
        assert connected.store(content).status_code == 200
        assert pacs.find("Instance", SOPInstanceUID=sop_uid(content))

    def test_a_pacs_that_is_down_is_said_to_be(self, deployment: Deployment) -> None:
        self.point_to(deployment, DOWN)
        content = (deployment.studies / "series-2" / "0001.dcm").read_bytes()
        answer = deployment.store(content)
        assert answer.status_code == 409
        assert "cannot be reached" in answer.headers["warning"]

    def test_a_segmentation_is_a_label_first_and_goes_on(
        self, connected: Deployment, pacs: OrthancServer
    ) -> None:
        content = segmentation(connected.studies)
        assert connected.store(content).status_code == 200
        assert set(connected.labels()) == {SERIES[0]}
        assert pacs.find("Instance", SOPInstanceUID=sop_uid(content))

    def test_what_goes_there_as_a_label_does_not_go_as_itself(
        self, deployment: Deployment, pacs: OrthancServer
    ) -> None:
        self.point_to(deployment, pacs.url, exports=True)
        content = segmentation(deployment.studies, derivation=Derivation("as a file", 0.0))
        deployment.client.put(
            f"/datastore/label?image={SERIES[0]}",
            files={"label": ("drawn.dcm", content)},
            data={"params": "{}"},
        )
        assert deployment.store(content).status_code == 200
        assert not pacs.find("Instance", SOPInstanceUID=sop_uid(content))

    def test_a_pacs_that_is_down_loses_no_label(self, deployment: Deployment) -> None:
        self.point_to(deployment, DOWN)
        content = segmentation(deployment.studies)
        answer = deployment.store(content)
        assert answer.status_code == 202
        assert uids(answer, STORED) == [sop_uid(content)]
        assert "kept as a label here" in answer.headers["warning"]
        assert set(deployment.labels()) == {SERIES[0]}

    def test_while_it_is_down_series_of_the_cache_are_shown(self, deployment: Deployment) -> None:
        self.point_to(deployment, DOWN)
        listed = deployment.client.get(f"{ROOT}/studies/{STUDY}/series")
        assert [item["0020000E"]["Value"][0] for item in listed.json()] == list(SERIES)
        assert "cannot be reached" in listed.headers["warning"]
        kept, gone = (
            deployment.client.get(f"{ROOT}/studies/{STUDY}/series/{uid}/metadata") for uid in SERIES
        )
        assert (kept.status_code, len(kept.json())) == (200, 4)
        assert gone.status_code == 503

    def test_while_it_is_down_slices_come_in_their_order_whatever_their_files_are_called(
        self, deployment: Deployment
    ) -> None:
        self.point_to(deployment, DOWN)
        services: Services = deployment.client.app.state.services  # type: ignore[attr-defined]  # FastAPI
        folder = series_folder(services.settings, SERIES[0])
        for number, path in enumerate(sorted(folder.glob("0*.dcm"))):
            path.rename(folder / f"1.2.{9 - number}.dcm")
        answer = deployment.client.get(f"{ROOT}/studies/{STUDY}/series/{SERIES[0]}/metadata")
        heights = [item["00200032"]["Value"][2] for item in answer.json()]
        assert len(heights) == 4
        assert heights == sorted(heights)
