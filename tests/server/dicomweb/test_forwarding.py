"""OHIF's requests passed on to a real DICOMweb server, and to one that misbehaves."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from app.settings import Settings
from server.dicomweb.forwarding import on_our_origin
from server.main import create_app
from tests.orthanc import OrthancServer, orthanc
from tests.server.dicomweb.conftest import (
    OTHER_STUDY,
    SERIES,
    STUDY,
    series_volume,
    write_pool,
)

ROOT = "/proxy/dicom/wado"


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrthancServer]:
    studies = write_pool(tmp_path_factory.mktemp("studies"))
    with orthanc(tmp_path_factory.mktemp("orthanc"), users={"reader": "secret"}) as server:
        server.upload(sorted(studies.rglob("*.dcm")))
        yield server


def proxy(folder: Path, empty_database: Path, **settings: Any) -> TestClient:
    shutil.copy(empty_database, folder / "caclabel.sqlite")
    chosen = Settings.model_validate({"data": folder, **settings})
    return TestClient(create_app(chosen), raise_server_exceptions=False)


@pytest.fixture(scope="module")
def client(
    tmp_path_factory: pytest.TempPathFactory, empty_database: Path, pacs: OrthancServer
) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("data")
    known = {"studies": pacs.url, "pacs_user": "reader", "pacs_password": "secret"}
    with proxy(folder, empty_database, **known) as client:
        yield client


def test_the_query_reaches_the_pacs(client: TestClient) -> None:
    answer = client.get(f"{ROOT}/studies", params={"PatientID": "patient-2", "limit": 5})
    assert [study["0020000D"]["Value"] for study in answer.json()] == [[OTHER_STUDY]]
    assert len(client.get(f"{ROOT}/studies").json()) == 2


def test_addresses_in_answers_are_ours(client: TestClient) -> None:
    answer = client.get(f"{ROOT}/studies/{STUDY}/series")
    addresses = [series["00081190"]["Value"][0] for series in answer.json()]
    assert sorted(addresses) == [f"{ROOT}/studies/{STUDY}/series/{uid}" for uid in SERIES]
    # What the PACS calls itself is nowhere.
    assert "dicom-web" not in answer.text


def test_a_frame_streams_through_with_its_type(client: TestClient) -> None:
    series = f"studies/{STUDY}/series/{SERIES[0]}"
    instances = client.get(f"{ROOT}/{series}/instances").json()
    uid = instances[0]["00080018"]["Value"][0]
    accept = {"Accept": 'multipart/related; type="application/octet-stream"'}
    answer = client.get(f"{ROOT}/{series}/instances/{uid}/frames/1", headers=accept)
    assert answer.headers["content-type"].startswith("multipart/related")
    # Stored values are HU + 1024.
    stored = series_volume(1, SERIES[0], STUDY).hu + np.int16(1024)
    assert any(pixels.astype("<i2").tobytes() in answer.content for pixels in stored)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "server" not in answer.headers


@pytest.mark.parametrize(
    ("path", "kind"),
    [("", "multipart/related"), ("/metadata", "application/dicom+json")],
)
def test_head_tells_the_headers_alone(client: TestClient, path: str, kind: str) -> None:
    answer = client.head(f"{ROOT}/studies/{STUDY}/series/{SERIES[0]}{path}")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(kind)
    assert answer.content == b""


def test_what_the_pacs_lacks_is_not_found(client: TestClient) -> None:
    answer = client.get(f"{ROOT}/studies/1.2.3.4.5.6/metadata")
    assert answer.status_code == 404
    assert set(answer.json()) == {"detail"}


@pytest.mark.parametrize("path", ["..%2finstances", "..%2fsystem", "instances/x", "../../system"])
def test_nothing_but_dicomweb_of_the_pacs_is_reached(client: TestClient, path: str) -> None:
    assert client.get(f"{ROOT}/{path}").status_code == 404


def test_only_reading_and_storing_are_passed_on(client: TestClient) -> None:
    assert client.delete(f"{ROOT}/studies/{STUDY}").status_code == 405


def test_wrong_credentials_are_our_fault_not_the_browsers(
    pacs: OrthancServer, tmp_path: Path, empty_database: Path
) -> None:
    with proxy(tmp_path, empty_database, studies=pacs.url, pacs_user="nobody") as client:
        answer = client.get(f"{ROOT}/studies")
    # With a 401 the browser would ask for the password of the PACS.
    assert answer.status_code == 502
    assert "pacs_user" in answer.json()["detail"]
    assert "www-authenticate" not in answer.headers


def test_a_pacs_that_is_down_is_said_to_be(tmp_path: Path, empty_database: Path) -> None:
    with proxy(tmp_path, empty_database, studies="http://127.0.0.1:9/dicom-web") as client:
        answer = client.get(f"{ROOT}/studies")
    assert answer.status_code == 503
    assert "cannot be reached" in answer.json()["detail"]


def test_bulk_data_is_looked_for_here_at_every_level() -> None:
    inner = {"vr": "OW", "BulkDataURI": "https://pacs.example/rs/studies/1/series/2/bulkdata/x"}
    given = [{"00091001": {"vr": "SQ", "Value": [{"00091002": inner}]}}]
    [found] = json.loads(on_our_origin(json.dumps(given).encode()))
    rewritten = found["00091001"]["Value"][0]["00091002"]
    assert rewritten == {"vr": "OW", "BulkDataURI": f"{ROOT}/studies/1/series/2/bulkdata/x"}


def test_a_relative_address_stays() -> None:
    given = b'[{"00091002": {"vr": "OB", "BulkDataURI": "instances/3/bulkdata/x"}}]'
    assert json.loads(on_our_origin(given)) == json.loads(given)
