"""The whole loop in OHIF, with the images in a PACS: a real Orthanc, worker and browser.

Nothing is planted: the first model version is trained on a label that came over REST. Its one
epoch is far too short to find an artery, so the tests hold OHIF to what the network really
answered, voxel by voxel, and not to what is in the image.
"""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import requests
from numpy.typing import NDArray

from app.calcium.labels import CALCIUM_LABELS, LABELS
from app.imaging.labelmap import read_label_map
from tests.journeys.dicom_pool import planted_hu, planted_label, planted_labels, write_series_pool
from tests.journeys.serving import RunningServer, started, wait_until
from tests.journeys.viewing import Viewer, viewing
from tests.orthanc import OrthancServer, orthanc

pytestmark = [
    pytest.mark.slow,
    # Playwright's driver leaves closing its pipes to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

_COUNT = 3

_PATIENT = 2
"""Who is labeled in OHIF; the network has not seen this patient."""

_TRAINING_S = 300.0

_SETTINGS = {
    "pacs_sync_seconds": 2,
    "validation_percent": 0,
    "first_training": 1,
    "max_epochs": 1,
    "samples": 2,
}
"""The smallest real trainings and predictions."""


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrthancServer]:
    folder = tmp_path_factory.mktemp("orthanc")
    with orthanc(folder) as running:
        series = write_series_pool(folder / "series", _COUNT)
        running.upload(path for path in sorted(series.rglob("*")) if path.is_file())
        yield running


@pytest.fixture(scope="module")
def server(
    remote: OrthancServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    data = tmp_path_factory.mktemp("data")
    with started(remote.url, data, **_SETTINGS) as running:
        wait_until(lambda: running.has_worker() and running.images() == _COUNT, running)
        train_first_version(running, remote)
        yield running


@pytest.fixture(scope="module")
def viewer(server: RunningServer) -> Iterator[Viewer]:
    with viewing(server.url) as viewer:
        yield viewer


def train_first_version(server: RunningServer, remote: OrthancServer) -> None:
    label = {"label": ("label.nrrd", planted_label("patient-0"))}
    answer = server.request("PUT", f"/datastore/label?image={series_of(remote, 0)}", files=label)
    assert answer.status_code == 200, answer.text
    assert server.request("POST", "/train/calcium", json={}).status_code == 200
    wait_until(lambda: not server.is_training(), server, _TRAINING_S)
    assert train_status(server)["status"] == "DONE", train_status(server)["details"]


def train_status(server: RunningServer) -> dict[str, Any]:
    status: dict[str, Any] = server.request("GET", "/train/").json()
    return status


def qido(remote: OrthancServer, path: str) -> list[dict[str, Any]]:
    answer = requests.get(
        remote.url + path, timeout=30, headers={"Accept": "application/dicom+json"}
    )
    found: list[dict[str, Any]] = answer.json() if answer.status_code == 200 else []
    return found


def value(found: dict[str, Any], tag: str) -> str:
    return str(found[tag]["Value"][0])


def study_of(remote: OrthancServer, number: int) -> str:
    [found] = qido(remote, f"/studies?PatientID=patient-{number}")
    return value(found, "0020000D")


def series_of(remote: OrthancServer, number: int) -> str:
    found = qido(remote, f"/studies/{study_of(remote, number)}/series?Modality=CT")
    return value(found[0], "0020000E")


def modalities(remote: OrthancServer, number: int) -> list[str]:
    found = qido(remote, f"/studies/{study_of(remote, number)}/series")
    return sorted(value(one, "00080060") for one in found)


def label_map(content: bytes, folder: Path) -> NDArray[np.uint8]:
    path = folder / "answer.nrrd"
    path.write_bytes(content)
    return read_label_map(path).array


def answered(server: RunningServer, image_id: str, folder: Path) -> NDArray[np.uint8]:
    """Return what the network answers to a client that is not OHIF."""
    wish = {"params": '{"result_extension": ".nrrd"}'}
    path = f"/infer/calcium?image={image_id}&output=image"
    return label_map(server.request("POST", path, data=wish).content, folder)


def test_the_studies_of_the_pacs_are_listed(viewer: Viewer) -> None:
    viewer.open_list("patient-0")
    for number in range(_COUNT):
        assert viewer.page.get_by_text(f"patient-{number}").first.is_visible()


def test_a_series_is_shown_as_the_pacs_has_it(viewer: Viewer, remote: OrthancServer) -> None:
    viewer.open_study(study_of(remote, _PATIENT))
    np.testing.assert_array_equal(viewer.image(), planted_hu(_PATIENT))


def test_what_the_network_sees_is_shown(
    viewer: Viewer, server: RunningServer, remote: OrthancServer, tmp_path: Path
) -> None:
    viewer.connect()
    viewer.run("Auto-Segmentation")
    seen = viewer.label()
    assert (seen > 0).any()
    np.testing.assert_array_equal(seen, answered(server, series_of(remote, _PATIENT), tmp_path))
    # Whatever a network thinks of it, calcium is bright: 400 HU, or noise of 20 around -80.
    assert (planted_hu(_PATIENT)[np.isin(seen, list(CALCIUM_LABELS.values()))] >= 130).all()


def test_the_next_sample_is_a_study_of_the_pacs_without_a_label(
    viewer: Viewer, remote: OrthancServer
) -> None:
    sample = viewer.next_sample()
    assert sample["StudyInstanceUID"] in {study_of(remote, number) for number in (1, _PATIENT)}
    assert sample["RetrieveURL"].startswith(f"{viewer.url}/proxy/dicom/wado/studies/")


def test_clicks_put_right_what_the_network_got_wrong(viewer: Viewer) -> None:
    planted = planted_labels(_PATIENT)
    for artery in ("LAD", "RCA"):
        lesion = planted == LABELS[artery]
        z, y, x = (int(place) for place in np.argwhere(lesion)[0])
        viewer.show_slice(z)
        viewer.choose_point_prompts("lesion_click", artery)
        viewer.click_voxel((z, y + 1, x + 1))
        viewer.run("Point Prompts")
        np.testing.assert_array_equal(viewer.label() == LABELS[artery], lesion)


def test_a_saved_label_is_listed(
    viewer: Viewer, server: RunningServer, remote: OrthancServer, tmp_path: Path
) -> None:
    viewer.save_label()
    image_id = series_of(remote, _PATIENT)
    entry = server.request("GET", "/datastore/?output=all").json()["objects"][image_id]
    assert "final" in entry["labels"]
    assert server.labeled() == 2
    answer = server.request("GET", f"/datastore/label?label={image_id}&tag=final")
    np.testing.assert_array_equal(label_map(answer.content, tmp_path), viewer.label())


def test_the_pacs_has_it_as_one_segmentation_and_one_report(
    server: RunningServer, remote: OrthancServer
) -> None:
    wait_until(lambda: modalities(remote, _PATIENT) == ["CT", "SEG", "SR"], server)
    study = study_of(remote, _PATIENT)
    [report] = remote.find("Instance", StudyInstanceUID=study, Modality="SR")
    content = remote.request("GET", f"/instances/{report}/file").content
    assert "Agatston" in str(pydicom.dcmread(BytesIO(content)))


def test_a_training_from_the_panel_makes_the_version_that_answers_next(
    viewer: Viewer, server: RunningServer, remote: OrthancServer, tmp_path: Path
) -> None:
    image_id = series_of(remote, _PATIENT)
    first = answered(server, image_id, tmp_path)
    viewer.update_model()
    wait_until(lambda: not server.is_training(), server, _TRAINING_S)
    status = train_status(server)
    assert status["status"] == "DONE", status["details"]
    viewer.run("Auto-Segmentation")
    second = answered(server, image_id, tmp_path)
    np.testing.assert_array_equal(viewer.label(), second)
    assert not np.array_equal(first, second)


def test_the_browser_asked_nobody_but_the_server(viewer: Viewer) -> None:
    assert viewer.foreign == []
