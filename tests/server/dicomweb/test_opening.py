"""Opening an image has it made ready, so that the first click in it comes at once."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app import images, jobs
from app.arrays import load_image
from app.background.work import WorkContext
from app.imaging.volume_writer import write_volume
from app.pacs.prefetch import prefetch
from app.settings import Settings
from server.dependencies import Services
from server.main import create_app
from tests.factories import make_volume
from tests.server.conftest import Site
from tests.server.dicomweb.conftest import OTHER_STUDY, SERIES, STUDY, write_pool

OTHER = f"{OTHER_STUDY}.1"


@pytest.fixture
def viewed(tmp_path: Path, empty_database: Path) -> Iterator[Site]:
    """Return a site with three series and a NIfTI image, none of which was decoded yet."""
    data = tmp_path / "data"
    data.mkdir()
    shutil.copy(empty_database, data / "caclabel.sqlite")
    (tmp_path / "studies").mkdir()
    studies = write_pool(tmp_path / "studies")
    application = create_app(Settings(data=data, studies=studies))
    services: Services = application.state.services
    with TestClient(application) as client:
        images.scan_studies(services.database, services.settings, now=lambda: 1000.0)
        yield Site(client, services)


def asked_for(site: Site) -> list[list[str]]:
    """Return the images of each prefetch that waits, oldest first."""
    with site.services.database.reading() as session:
        waiting = jobs.history(session, "prefetch")
        return [job.request["images"] for job in reversed(waiting)]


def headers_of(site: Site, series_uid: str, study_uid: str) -> None:
    path = f"/proxy/dicom/wado/studies/{study_uid}/series/{series_uid}/metadata"
    assert site.client.get(path).status_code == 200


def test_a_download_asks_a_worker_once(viewed: Site) -> None:
    for _ in range(3):
        assert viewed.client.get("/datastore/image?image=case_1").status_code == 200
    assert asked_for(viewed) == [["case_1"]]


def test_headers_of_a_series_ask_for_its_image(viewed: Site) -> None:
    headers_of(viewed, SERIES[1], STUDY)
    headers_of(viewed, OTHER, OTHER_STUDY)
    assert asked_for(viewed) == [[SERIES[1]], [OTHER]]


def test_what_is_asked_for_is_what_a_click_needs(viewed: Site) -> None:
    headers_of(viewed, OTHER, OTHER_STUDY)
    services = viewed.services
    context = WorkContext(services.settings, services.database, services.files, "cpu")
    with services.database.reading() as session:
        [job] = jobs.history(session, "prefetch")
    list(prefetch(context, job))
    # The click is answered without a file of the series.
    assert services.settings.studies_folder is not None
    shutil.rmtree(services.settings.studies_folder)
    params = json.dumps({"label": "LAD", "foreground": [[1, 1, 1]]})
    url = f"/infer/lesion_click?image={OTHER}&output=json"
    assert viewed.client.post(url, data={"params": params}).status_code == 200


def test_what_is_ready_is_not_asked_for(viewed: Site) -> None:
    services = viewed.services
    with services.database.reading() as session:
        row = images.get_image(session, "case_1")
    load_image(services.settings, services.files, row)
    assert viewed.client.get("/datastore/image?image=case_1").status_code == 200
    assert asked_for(viewed) == []


def test_looking_around_opens_nothing(viewed: Site) -> None:
    for path in (
        "/info/",
        "/datastore/?output=all",
        "/datastore/image/info?image=case_1",
        "/proxy/dicom/qido/studies",
        f"/proxy/dicom/qido/studies/{STUDY}/series",
        f"/proxy/dicom/wado/studies/{STUDY}/metadata",
    ):
        assert viewed.client.get(path).status_code == 200, path
    assert viewed.client.head("/datastore/image?image=case_1").status_code == 200
    assert asked_for(viewed) == []


def test_a_download_of_the_whole_pool_does_not_fill_the_queue(viewed: Site) -> None:
    studies = viewed.services.settings.studies_folder
    assert studies is not None
    for number in range(12):
        write_volume(studies / f"more_{number}.nii.gz", make_volume(seed=50 + number))
    services = viewed.services
    images.scan_studies(services.database, services.settings, now=lambda: 2000.0)
    for number in range(12):
        url = f"/datastore/image?image=more_{number}"
        assert viewed.client.get(url).status_code == 200
    assert asked_for(viewed) == [[f"more_{number}"] for number in range(8)]


class TestDecodedAlready:
    """The image was decoded when it came, to check it; a click needs no file any more."""

    def click(self, site: Site, query: str) -> int:
        params = json.dumps({"label": "LAD", "foreground": [[1, 1, 1]]})
        url = f"/infer/lesion_click?{query}&output=json"
        return int(site.client.post(url, data={"params": params}).status_code)

    def test_an_upload(self, site: Site) -> None:
        site.upload("case_1")
        shutil.rmtree(site.services.settings.files)
        assert self.click(site, "image=case_1") == 200

    def test_a_session_until_it_is_closed(self, site: Site, tmp_path: Path) -> None:
        path = tmp_path / "image.nii.gz"
        write_volume(path, make_volume())
        opened = site.client.put("/session/", files={"files": (path.name, path.read_bytes())})
        session_id = opened.json()["session_id"]
        [kept] = (site.services.settings.data / "sessions" / session_id).iterdir()
        kept.write_bytes(b"")
        assert self.click(site, f"session_id={session_id}") == 200
        assert site.client.delete(f"/session/{session_id}").status_code == 200
        assert self.click(site, f"session_id={session_id}") == 404
