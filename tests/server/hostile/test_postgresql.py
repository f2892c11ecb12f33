"""Texts that PostgreSQL refuses, in every place where a text comes in: a 4xx, never a 500.

It takes no NUL and no half characters, and no text longer than its column; SQLite takes all of
them, so that only the real one shows what was forgotten.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pydicom
import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from app.calcium.labels import LABELS
from app.imaging.dicom.derivation import Derivation
from app.imaging.dicom.segmentation import write_segmentation
from app.settings import Settings
from app.store.tables import ImageRow, LabelRow, ModelVersionRow
from server.dependencies import Services
from server.main import create_app
from tests.factories import SHAPE, make_volume, write_dicom
from tests.journeys.postgresql import postgresql, postgresql_programs
from tests.server.pool import add_model, image_bytes, label_bytes

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(postgresql_programs() is None, reason="PostgreSQL is not installed"),
]

TEXTS = {
    "nul": "a\0b",
    "half a character": "a\ud800b",
    "other half": "\udfff",
    "long": "x" * 5000,
    "long and odd": "\u202e\U0001f9e0" * 100,
    "quotes": "'; DROP TABLE images; --\\",
    "line": "a\r\nb",
}
"""What may come as the value of a text, by what is odd about it."""

Request = tuple[str, str, dict[str, Any]]


@dataclass(frozen=True)
class PostgresqlSite:
    """A server whose database is a real PostgreSQL."""

    client: TestClient
    services: Services

    def send(self, request: Request) -> Response:
        method, path, body = request
        return self.client.request(method, path, **body)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresqlSite]:
    data = tmp_path_factory.mktemp("data")
    with ExitStack() as until_end:
        root = until_end.enter_context(postgresql())
        application = create_app(Settings(data=data, database_url=f"{root}/caclabel"))
        client = TestClient(application, raise_server_exceptions=False)
        until_end.enter_context(client)
        opened = PostgresqlSite(client, application.state.services)
        for number in (1, 2):
            files = {"file": (f"case_{number}.nii.gz", image_bytes(number))}
            answer = client.put(f"/datastore/?image=case_{number}", files=files)
            assert answer.status_code == 200, answer.text
        files = {"label": ("label.nrrd", label_bytes())}
        assert client.put("/datastore/label?image=case_1", files=files).status_code == 200
        add_model(opened.services)
        yield opened


def in_query(text: str) -> str:
    return quote(text.encode("utf-8", "surrogatepass"), safe="")


def requests_with(text: str) -> dict[str, Request]:
    """Return a request for each place where a text comes in, with this one there."""
    odd, in_json = in_query(text), json.dumps({"client_id": text, "remark": text, text: [text]})
    plain = json.dumps({"client_id": text, "reason": text})
    as_json = {"content": plain, "headers": {"Content-Type": "application/json"}}
    label, image = ("label.nrrd", label_bytes()), ("case.nii.gz", image_bytes(3))
    of_label = "label=case_1&tag=final"
    return {
        "next sample": ("POST", "/activelearning/first", as_json),
        "strategy": ("POST", f"/activelearning/{odd}", {"json": {}}),
        "skip": (
            "POST",
            "/activelearning/first",
            {"content": json.dumps({"skip": text, "client_id": "a"})},
        ),
        "heartbeat": (
            "POST",
            f"/activelearning/lease/heartbeat?image=case_2&client_id={odd}",
            {},
        ),
        "train": ("POST", "/train/calcium", as_json),
        "train every": ("POST", "/train", as_json),
        "scoring": ("POST", f"/scoring/{odd}", {}),
        "batch": (
            "POST",
            "/batch/infer/calcium",
            {"content": json.dumps({"client_id": text, "label_tag": text})},
        ),
        "promote": ("POST", "/model_versions/1/promote", as_json),
        "rollback": ("POST", "/model_versions/rollback", as_json),
        "image id": ("PUT", f"/datastore/?image={odd}", {"files": {"file": image}}),
        "image name": (
            "PUT",
            "/datastore/",
            {"files": {"file": (f"{text}.nii.gz", image_bytes(3))}},
        ),
        "image params": (
            "PUT",
            "/datastore/?image=case_9",
            {"files": {"file": image}, "data": {"params": in_json}},
        ),
        "image info": ("PUT", "/datastore/image/info?image=case_1", {"data": {"info": in_json}}),
        "label image": ("PUT", f"/datastore/label?image={odd}", {"files": {"label": label}}),
        "label tag": (
            "PUT",
            f"/datastore/label?image=case_1&tag={odd}",
            {"files": {"label": label}},
        ),
        "label name": (
            "PUT",
            "/datastore/label?image=case_1",
            {"files": {"label": (f"{text}.nrrd", label_bytes())}},
        ),
        "label params": (
            "PUT",
            "/datastore/label?image=case_1",
            {"files": {"label": label}, "data": {"params": in_json}},
        ),
        "label info": ("PUT", f"/datastore/label/info?{of_label}", {"data": {"info": in_json}}),
        "review": ("PUT", f"/datastore/updatelabelinfo?{of_label}", {"data": {"params": in_json}}),
        "info tag": ("GET", f"/datastore/label/info?label=case_1&tag={odd}", {}),
        "delete label": ("DELETE", f"/datastore/label?id=case_1&tag={odd}", {}),
        "delete image": ("DELETE", f"/datastore/?id={odd}", {}),
        "checksum": ("HEAD", f"/datastore/image?image=case_1&check_sum={odd}", {}),
        "session": ("GET", f"/session/{odd}", {}),
        "close session": ("DELETE", f"/session/{odd}", {}),
        "session name": ("PUT", "/session/", {"files": {"files": (f"{text}.nii.gz", image[1])}}),
        "infer image": ("POST", f"/infer/lesion_click?image={odd}", {}),
        "infer params": ("POST", "/infer/lesion_click?image=case_1", {"data": {"params": in_json}}),
        "infer session": ("POST", f"/infer/lesion_click?session_id={odd}", {}),
        "actor": ("GET", f"/audit?actor={odd}&subject={odd}", {}),
        "patient": ("GET", f"/proxy/dicom/qido/studies?PatientID={odd}", {}),
        "study": ("GET", f"/proxy/dicom/wado/studies/{odd}/metadata", {}),
    }


def form_of(request: Request, text: str) -> Request:
    """Return a request whose form is written by hand, as no client would write it."""
    method, path, body = request
    if "files" not in body:
        return request
    (field, (name, content)), *_ = body["files"].items()
    written = name.encode("utf-8", "surrogatepass")
    for odd, spelled in ((b"\r", b"%0D"), (b"\n", b"%0A"), (b'"', b"%22")):
        written = written.replace(odd, spelled)
    parts = [(b'name="%s"; filename="%s"' % (field.encode(), written), content)]
    parts += [
        (b'name="%s"' % key.encode(), value.encode()) for key, value in body.get("data", {}).items()
    ]
    form = b"".join(
        b"--edge\r\nContent-Disposition: form-data; " + head + b"\r\n\r\n" + part + b"\r\n"
        for head, part in parts
    )
    kind = {"Content-Type": "multipart/form-data; boundary=edge"}
    return method, path, {"content": form + b"--edge--\r\n", "headers": kind}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_an_odd_text_is_refused_or_kept_as_it_is_wherever_it_comes(
    site: PostgresqlSite, text: str
) -> None:
    failed = {}
    for place, request in requests_with(text).items():
        answer = site.send(form_of(request, text))
        if answer.status_code >= 500:
            failed[place] = (answer.status_code, answer.text)
    assert failed == {}
    # Whatever was refused, the database answers and what is in it is whole.
    with site.services.database.reading() as session:
        assert session.get(ImageRow, "case_1") is not None
        for row in session.query(LabelRow):
            assert "\0" not in row.submitted_name + row.annotator + row.tag


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_json_does_not_know_are_refused(site: PostgresqlSite, number: str) -> None:
    info = f'{{"remark": [{number}]}}'
    file = {"label": ("label.nrrd", label_bytes())}
    for answer in (
        site.client.put("/datastore/image/info?image=case_1", data={"info": info}),
        site.client.put("/datastore/label?image=case_2", data={"params": info}, files=file),
        site.client.post("/train/calcium", content=info),
    ):
        assert answer.status_code == 422, answer.text
        assert "finite" in answer.json()["detail"]


def test_a_figure_that_is_no_number_loses_no_model_version(site: PostgresqlSite) -> None:
    # Its card has the loss NaN.
    with site.services.database.reading() as session:
        [row] = session.query(ModelVersionRow)
        assert row.card == {"code_version": "0.1.0", "loss": None}


# pydicom warns of what it is told to write here.
@pytest.mark.filterwarnings("ignore:(The value length|Invalid value):UserWarning")
@pytest.mark.parametrize("uid", ["1.2." + "3" * 100, "1.2\0", "a b", "1.2\u00e4"])
def test_identifiers_in_dicom_that_do_not_fit_are_refused(
    site: PostgresqlSite, tmp_path: Path, uid: str
) -> None:
    paths = write_dicom(tmp_path / "series", make_volume())
    labels = np.zeros((len(paths), *SHAPE[1:]), np.uint8)
    labels[1, 1, 1] = LABELS["LAD"]
    written = pydicom.dcmread(BytesIO(write_segmentation(paths, labels, Derivation("seed", 0.0))))
    for place in (written, written.ReferencedSeriesSequence[0]):
        for name in ("SOPInstanceUID", "SeriesInstanceUID"):
            if name in place:
                setattr(place, name, uid)
    content = BytesIO()
    written.save_as(content)
    body = b"--edge\r\nContent-Type: application/dicom\r\n\r\n" + content.getvalue()
    kind = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=edge'}
    answer = site.client.post(
        "/proxy/dicom/stow/studies", content=body + b"\r\n--edge--\r\n", headers=kind
    )
    assert answer.status_code == 409, answer.text


def test_texts_that_can_be_kept_come_back_as_they_were(site: PostgresqlSite) -> None:
    remark = "\u202e\U0001f9e0 'quoted' \\ \r\n"
    given = {"info": json.dumps({"remark": remark})}
    path = "/datastore/image/info?image=case_2"
    assert site.client.put(path, data=given).status_code == 200
    assert site.client.get(path).json()["remark"] == remark
