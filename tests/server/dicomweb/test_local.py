"""OHIF's requests to a server without a PACS."""

from email.parser import BytesParser
from io import BytesIO
from typing import Any

import numpy as np
import pydicom
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from sqlalchemy import select

from app.store.tables import ImageRow
from server.dependencies import Services
from tests.server.dicomweb.conftest import NAME, OTHER_STUDY, SERIES, STUDY, series_volume

ROOT = "/proxy/dicom/qido"


def search(client: TestClient, path: str, **query: str | int) -> list[Any]:
    answer = client.get(f"{ROOT}/{path}", params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/dicom+json"
    found: list[Any] = answer.json()
    return found


def values(found: list[Any], tag: str) -> list[Any]:
    return [item[tag]["Value"][0] for item in found]


def parts(answer: Any) -> list[tuple[str, bytes]]:
    """Take a multipart answer apart by Python's own parser of e-mail."""
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    message: Any = BytesParser().parsebytes(head + answer.content)
    assert message.is_multipart()
    return [
        (str(part["Content-Type"]), part.get_payload(decode=True)) for part in message.get_payload()
    ]


def instance_path(client: TestClient, index: int = 0) -> str:
    found = search(client, f"studies/{STUDY}/series/{SERIES[0]}/instances")
    uid = values(found, "00080018")[index]
    return f"/proxy/dicom/wado/studies/{STUDY}/series/{SERIES[0]}/instances/{uid}"


class TestStudies:
    def test_every_study_is_listed_once_with_its_counts_newest_first(
        self, client: TestClient
    ) -> None:
        found = search(client, "studies")
        assert values(found, "0020000D") == [OTHER_STUDY, STUDY]
        assert values(found, "00201206") == [1, 2]
        # Two series of four slices.
        assert values(found, "00201208") == [4, 8]
        assert values(found, "00080061") == ["CT", "CT"]
        assert found[0]["00100010"]["Value"] == [{"Alphabetic": NAME}]

    @pytest.mark.parametrize(
        ("query", "studies"),
        [
            ({"00100020": "*ent-1*"}, [STUDY]),
            ({"PatientID": "patient-?"}, [OTHER_STUDY, STUDY]),
            ({"PatientID": "patient"}, []),
            ({"PatientName": "*marie*"}, [OTHER_STUDY]),
            ({"PatientName": "*"}, [OTHER_STUDY, STUDY]),
            ({"StudyDescription": "*[score]*"}, [OTHER_STUDY]),
            ({"StudyDescription": "*[sc]core*"}, []),
            ({"StudyDate": "20260102-20260103"}, [OTHER_STUDY]),
            ({"StudyDate": "-20260101"}, [STUDY]),
            ({"StudyDate": "20260101"}, [STUDY]),
            ({"ModalitiesInStudy": "CT,MR"}, [OTHER_STUDY, STUDY]),
            ({"ModalitiesInStudy": "MR"}, []),
            ({"StudyInstanceUID": f"9.9,{STUDY}"}, [STUDY]),
            ({"limit": 1}, [OTHER_STUDY]),
            ({"limit": 1, "offset": 1}, [STUDY]),
            ({"limit": 5, "offset": 2}, []),
            ({"PatientName": "*", "limit": 1, "offset": 1}, [STUDY]),
            ({"includefield": "00081030,00080060", "fuzzymatching": "true"}, [OTHER_STUDY, STUDY]),
        ],
    )
    def test_filters_and_pages_hold(
        self, client: TestClient, query: dict[str, str | int], studies: list[str]
    ) -> None:
        assert values(search(client, "studies", **query), "0020000D") == studies

    @pytest.mark.parametrize(
        ("query", "status", "words"),
        [
            ({"limit": "many"}, 422, "limit"),
            ({"offset": "-1"}, 422, "offset"),
            ({"limit": "9" * 5000}, 422, "limit"),
            ({"PatientShoe": "42"}, 404, "PatientShoe"),
            ({"Rows": "6"}, 422, "expected a search by"),
        ],
    )
    def test_a_search_that_is_not_understood_is_refused(
        self, client: TestClient, query: dict[str, str], status: int, words: str
    ) -> None:
        answer = client.get(f"{ROOT}/studies", params=query)
        assert answer.status_code == status
        assert words in answer.json()["detail"]


def test_what_is_not_known_has_no_value(client: TestClient) -> None:
    services: Services = client.app.state.services  # type: ignore[attr-defined]  # FastAPI
    with services.database.writing() as session:
        rows = session.scalars(select(ImageRow).where(ImageRow.study_uid == STUDY)).all()
        dates = [row.study_date for row in rows]
        for row in rows:
            row.study_date = ""
    try:
        [study] = search(client, "studies", StudyInstanceUID=STUDY)
        assert study["00080020"] == {"vr": "DA"}
    finally:
        with services.database.writing() as session:
            for row, date in zip(rows, dates, strict=True):
                session.get_one(ImageRow, row.id).study_date = date


def test_the_root_without_a_name_is_the_same_one(client: TestClient) -> None:
    plain = f"/proxy/dicom/studies/{STUDY}/series"
    assert client.get(plain).json() == client.get(f"{ROOT}/studies/{STUDY}/series").json()
    assert len(client.get("/proxy/dicom/studies").json()) == 2
    assert client.head(f"/proxy/dicom/studies/{STUDY}/metadata").status_code == 200
    assert client.post(f"/proxy/dicom/studies/{STUDY}").status_code == 422
    assert client.get("/proxy/dicom/studies/..%2fsystem").status_code == 404
    assert client.get("/proxy/dicom/studies/1.2/../../system").status_code == 404


def test_head_is_answered(client: TestClient) -> None:
    assert client.head(f"{ROOT}/studies").status_code == 200
    assert client.head(instance_path(client)).status_code == 200


def test_the_series_of_a_study_are_listed_with_their_size(client: TestClient) -> None:
    found = search(client, f"studies/{STUDY}/series", includefield="0008103E,00080021")
    assert values(found, "0020000E") == list(SERIES)
    assert values(found, "00201209") == [4, 4]
    assert values(found, "00080060") == ["CT", "CT"]


def test_metadata_tells_everything_but_the_pixels_in_the_order_of_the_slices(
    client: TestClient,
) -> None:
    found = search(client, f"studies/{STUDY}/series/{SERIES[0]}/metadata")
    heights = [item["00200032"]["Value"][2] for item in found]
    assert heights == sorted(heights)
    assert len(found) == 4
    assert all("7FE00010" not in item for item in found)
    assert values(found, "00083002") == ["1.2.840.10008.1.2.1"] * 4
    # What pydicom makes of it is the header that it came from.
    dataset = pydicom.Dataset.from_json(found[0])
    assert (dataset.Rows, dataset.Columns, dataset.RescaleIntercept) == (6, 7, -1024)


def test_the_metadata_of_a_study_is_that_of_its_series(client: TestClient) -> None:
    found = search(client, f"studies/{STUDY}/metadata")
    assert {item["0020000E"]["Value"][0] for item in found} == set(SERIES)
    assert len(found) == 8


@pytest.mark.parametrize(
    "path", ["studies/1.2.9/metadata", f"studies/{OTHER_STUDY}/series/{SERIES[0]}/metadata"]
)
def test_what_the_pool_lacks_is_not_found(client: TestClient, path: str) -> None:
    answer = client.get(f"{ROOT}/{path}")
    assert answer.status_code == 404
    assert "no such DICOM" in answer.json()["detail"]


class TestFrames:
    def test_a_frame_is_the_stored_pixels_with_their_transfer_syntax(
        self, client: TestClient
    ) -> None:
        accept = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
        answer = client.get(f"{instance_path(client)}/frames/1", headers={"Accept": accept})
        [(content_type, content)] = parts(answer)
        assert content_type == "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1"
        # Stored values are HU + 1024.
        stored = np.frombuffer(content, "<i2").reshape(6, 7)
        volume = series_volume(1, SERIES[0], STUDY)
        np.testing.assert_array_equal(stored - 1024, volume.hu[0])

    def test_a_frame_comes_without_parts_when_asked_so(self, client: TestClient) -> None:
        headers = {"Accept": "application/octet-stream"}
        answer = client.get(f"{instance_path(client)}/frames/1", headers=headers)
        assert len(answer.content) == 6 * 7 * 2

    def test_a_second_frame_of_a_slice_is_not_found(self, client: TestClient) -> None:
        assert client.get(f"{instance_path(client)}/frames/2").status_code == 404
        assert client.get(f"{instance_path(client)}/frames/0").status_code == 404
        assert client.get(f"{instance_path(client)}/frames/{'9' * 5000}").status_code == 404


def test_an_instance_comes_as_its_file(client: TestClient) -> None:
    [(content_type, content)] = parts(client.get(instance_path(client, 2)))
    assert content_type == "application/dicom"
    dataset = pydicom.dcmread(BytesIO(content))
    assert instance_path(client, 2).endswith(dataset.SOPInstanceUID)
    alone = client.get(instance_path(client, 2), headers={"Accept": "application/dicom"})
    assert alone.content == content


def test_a_series_comes_as_all_its_files(client: TestClient) -> None:
    answer = client.get(f"/proxy/dicom/wado/studies/{STUDY}/series/{SERIES[1]}")
    uids = {pydicom.dcmread(BytesIO(content)).SOPInstanceUID for _, content in parts(answer)}
    assert len(uids) == 4


class TestPictures:
    def test_a_rendered_slice_shows_the_window(self, client: TestClient) -> None:
        # Of 0 around 0: everything below -500 HU is black, everything above 500 HU white.
        answer = client.get(f"{instance_path(client)}/rendered?window=0,1000,linear")
        assert answer.headers["content-type"] == "image/png"
        grey = np.asarray(Image.open(BytesIO(answer.content)))
        hu = series_volume(1, SERIES[0], STUDY).hu[0]
        np.testing.assert_array_equal(grey == 255, hu >= 500)
        np.testing.assert_array_equal(grey == 0, hu < -496)

    def test_a_series_is_shown_by_a_jpeg_of_its_middle(self, client: TestClient) -> None:
        url = f"/proxy/dicom/wado/studies/{STUDY}/series/{SERIES[0]}/thumbnail"
        answer = client.get(url, headers={"Accept": "image/jpeg"})
        assert answer.headers["content-type"] == "image/jpeg"
        assert Image.open(BytesIO(answer.content)).size == (7, 6)

    def test_a_window_that_is_none_is_refused(self, client: TestClient) -> None:
        for window in ("bright", "1", "nan,1", "0,inf"):
            answer = client.get(f"{instance_path(client)}/rendered?window={window}")
            assert answer.status_code == 422


def test_the_rest_of_a_server_is_out_of_reach(client: TestClient) -> None:
    for path in ("..%2finstances", "%2e%2e/system", "studies%2f..%2f..%2fsystem"):
        assert client.get(f"{ROOT}/{path}").status_code == 404


def test_images_that_no_dicom_viewer_can_show_are_named(client: TestClient) -> None:
    assert client.get("/ohif/images.json").json() == {"viewable": 3, "not_viewable": ["case_1"]}
