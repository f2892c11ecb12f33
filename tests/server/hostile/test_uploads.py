"""Uploads that are too large or are something else: one sentence, and nothing left on the disk."""

import gzip
import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.settings import Settings
from server.main import create_app
from tests.server.conftest import Site
from tests.server.hostile.left_behind import files
from tests.server.pool import image_bytes, label_bytes

_MEGABYTE = 1 << 20


def client_with(settings: Settings, **changes: object) -> TestClient:
    """Return a client of a server with other limits."""
    application = create_app(settings.model_copy(update=changes))
    return TestClient(application, raise_server_exceptions=False)


def bomb() -> bytes:
    """Return a small NIfTI file that is followed by 64 MB."""
    return image_bytes() + gzip.compress(bytes(64 * _MEGABYTE), 1)


def bad_zip() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        packed.writestr("../../../tmp/x.nii.gz", b"no image")
    return stream.getvalue()


def sentence(answer: Any, status: int) -> str:
    """Return the one sentence of a refusal."""
    assert answer.status_code == status, answer.text
    told = answer.json()["detail"]
    assert "\n" not in told
    assert "/tmp" not in told
    return str(told)


REFUSED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "no image": ("PUT", "/datastore?image=x", {"file": ("x.nii.gz", b"no image")}),
    "another ending": ("PUT", "/datastore?image=x", {"file": ("x.exe", image_bytes())}),
    "an id that leads away": ("PUT", "/datastore?image=../x", {"file": ("x.nii", image_bytes())}),
    "a taken id": ("PUT", "/datastore?image=taken", {"file": ("x.nii.gz", image_bytes(5))}),
    "a slice alone": ("PUT", "/datastore?image=x", {"file": ("x.dcm", b"DICM" * 99)}),
    "no image in a session": ("PUT", "/session", {"files": ("x.nii.gz", b"no image")}),
    "no image in an archive": (
        "PUT", "/session?uncompress=true", {"files": ("x.zip", bad_zip())},
    ),
    "no image to infer": ("POST", "/infer/lesion_click", {"file": ("x.nii.gz", b"no image")}),
    "no label": ("PUT", "/datastore/label?image=taken", {"label": ("x.nrrd", b"no label")}),
    "a tag that leads away": (
        "PUT", "/datastore/label?image=taken&tag=../x", {"label": ("x.nrrd", label_bytes())},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("method", "url", "sent"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_leaves_nothing_on_the_disk(
    method: str, url: str, sent: dict[str, Any], site: Site
) -> None:
    site.upload("taken")
    before = files(site.services.settings)
    answer = site.client.request(method, url, files=sent)
    assert 400 <= answer.status_code < 500
    sentence(answer, answer.status_code)
    assert files(site.services.settings) == before


def test_a_full_disk_is_told_before_anything_is_written(settings: Settings) -> None:
    free_mb = shutil.disk_usage(settings.data).free // _MEGABYTE
    with client_with(settings, disk_reserve_mb=2 * free_mb) as client:
        answer = client.put("/datastore?image=x", files={"file": ("x.nii.gz", image_bytes())})
        assert "no room" in sentence(answer, 507)
        # What needs no room is answered on.
        assert client.get("/datastore").json()["total"] == 0
    assert files(settings) == set()


def test_an_archive_without_room_is_told(settings: Settings, tmp_path: Path) -> None:
    free_mb = shutil.disk_usage(settings.data).free // _MEGABYTE
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        packed.writestr("a.nii", bytes(64 * _MEGABYTE))
    # Room for what comes, and none for what it becomes; nobody else takes 32 MB meanwhile.
    with client_with(settings, disk_reserve_mb=free_mb - 32) as client:
        sent = {"files": ("x.zip", stream.getvalue())}
        assert "no room" in sentence(client.put("/session?uncompress=true", files=sent), 507)
    assert files(settings) == set()


def test_a_stated_length_above_the_limit_is_refused_before_it_came(settings: Settings) -> None:
    with client_with(settings, upload_limit_mb=1) as client:
        headers = {"Content-Type": "multipart/form-data; boundary=x", "Content-Length": "9" * 12}
        answer = client.put("/datastore?image=x", content=iter([b"--x\r\n"]), headers=headers)
        assert "1 MB" in sentence(answer, 413)


def test_a_label_above_its_limit_is_refused(settings: Settings) -> None:
    with client_with(settings, label_limit_mb=1) as client:
        client.put("/datastore?image=x", files={"file": ("x.nii.gz", image_bytes())})
        sent = {"label": ("x.nrrd", bytes(_MEGABYTE + 1))}
        assert "1 MB" in sentence(client.put("/datastore/label?image=x", files=sent), 413)


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("/activelearning/random", "application/json"),
        ("/train/calcium", "text/plain"),
        ("/proxy/dicom/stow/studies", "multipart/related; boundary=x"),
        ("/infer/calcium", "application/x-www-form-urlencoded"),
    ],
)
def test_a_body_in_memory_has_a_limit_of_its_own(url: str, kind: str, settings: Settings) -> None:
    with client_with(settings, label_limit_mb=16) as client:
        answer = client.post(url, content=bytes(17 * _MEGABYTE), headers={"Content-Type": kind})
        assert "16 MB" in sentence(answer, 413)


def test_a_volume_above_the_setting_is_refused(settings: Settings) -> None:
    # A header of 2 x 1024 x 1024 voxels; there is only one.
    with client_with(settings, volume_limit_mvoxels=1) as client:
        raw = bytearray(gzip.decompress(image_bytes()))
        raw[42:48] = b"\0\4\0\4\2\0"
        sent = {"file": ("x.nii", bytes(raw))}
        told = sentence(client.put("/datastore?image=x", files=sent), 422)
        assert told == "expected at most 1048576 voxels, got 2097152"
    assert files(settings) == set()


def test_what_follows_an_image_is_not_unpacked(site: Site) -> None:
    sent = {"file": ("x.nii.gz", bomb())}
    assert site.client.put("/datastore?image=x", files=sent).status_code in {200, 422}


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("application/json", json.dumps({"label": "x"}).encode()),
        ("text/plain", b"label"),
        ("multipart/form-data", b"--x\r\n"),
        ("multipart/form-data; boundary=x", b"--y\r\n\r\n"),
        ("multipart/form-data; boundary=x; charset=none", b"--x\r\nContent-Disposition: x\r\n"),
        ("multipart/form-data; boundary=\x00", b"\0" * 99),
        ("", b""),
    ],
)
def test_another_content_type_is_refused(kind: str, content: bytes, site: Site) -> None:
    site.upload("case")
    headers = {"Content-Type": kind} if kind else {}
    answer = site.client.put("/datastore/label?image=case", content=content, headers=headers)
    assert answer.status_code in {400, 415, 422}
    sentence(answer, answer.status_code)


@pytest.mark.parametrize("kind", ["application/json", "text/xml", ""])
def test_clicks_in_another_content_type_are_not_passed_over(kind: str, site: Site) -> None:
    site.upload("case")
    # Read as a form it has no fields: without clicks the answer is an empty mask and a 200.
    sent = b'{"foreground": [[1, 1, 1]]}'
    url = "/infer/lesion_click?image=case"
    answer = site.client.post(url, content=sent, headers={"Content-Type": kind})
    assert sentence(answer, 415) == "expected the fields of a form (multipart/form-data)"


@pytest.mark.parametrize(
    ("method", "path", "field"),
    [
        ("PUT", "/datastore/label?image=case", "label"),
        ("PUT", "/datastore?image=x", "file"),
        ("POST", "/infer/lesion_click?image=case", "params"),
    ],
)
def test_a_field_that_comes_twice_is_refused(
    method: str, path: str, field: str, site: Site
) -> None:
    site.upload("case")
    content = label_bytes() if field == "label" else image_bytes()
    parts = [(field, (None, "{}") if field == "params" else ("x.nrrd", content))] * 2
    told = sentence(site.client.request(method, path, files=parts), 422)
    assert told == f"{field}: expected one of it in the form, got several"


def test_more_parts_than_a_form_has_are_refused(site: Site) -> None:
    part = b'--x\r\nContent-Disposition: form-data; name="params"\r\n\r\n{}\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = site.client.put(
        "/datastore/image/info?image=x", content=part * 1001 + b"--x--\r\n", headers=headers
    )
    sentence(answer, 400)
