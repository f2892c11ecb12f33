"""No answer tells a folder of the server, and none is read for a client."""

from pathlib import Path

import pytest

from app.store.tables import Json
from tests.server.conftest import Site
from tests.server.fake_worker import working
from tests.server.pool import add_model

SECRET = "not for clients"


def fail(*_: object) -> Json:
    raise ValueError("OSError: [Errno 2] No such file or directory: '/usr/share/of Nobody/x.nii'")


def test_a_failed_task_tells_no_folder(site: Site) -> None:
    with working(site.services.database, fail):
        waited = site.client.post("/scoring/dice?run_sync=true")
    told = site.client.get("/scoring").json()["details"]
    assert "No such file" in " ".join(told)
    for text in (waited.text, *told):
        assert "/usr" not in text


def test_a_failed_prediction_tells_no_folder(site: Site) -> None:
    site.upload("case")
    add_model(site.services)
    with working(site.services.database, fail):
        answer = site.client.post("/infer/calcium?image=case")
    assert answer.status_code == 500
    assert "No such file" in answer.json()["detail"]
    assert "/usr" not in answer.text


@pytest.mark.parametrize("key", ["image", "label", "path", "file", "session_id", "label_tag"])
def test_no_file_of_the_server_is_read(key: str, site: Site, tmp_path: Path) -> None:
    secret = tmp_path / "secret.nii.gz"
    secret.write_text(SECRET)
    site.upload("case")
    for path in (
        f"/infer/lesion_click?{key}={secret}",
        f"/infer/lesion_click?image=file://{secret}",
        "/infer/lesion_click",
    ):
        answer = site.client.post(path, data={"params": f'{{"{key}": "{secret}"}}'})
        assert answer.status_code in {404, 422}
        assert SECRET not in answer.text
        assert "/tmp" not in answer.json()["detail"].replace(str(secret), "")


@pytest.mark.parametrize(
    "path", ["..%2f..%2fetc/passwd", "%2e%2e/%2e%2e/etc/passwd", "//etc/passwd"]
)
@pytest.mark.parametrize("root", ["/ohif", "/session", "/proxy/dicom/wado", "/model"])
def test_no_address_leads_out(root: str, path: str, site: Site) -> None:
    answer = site.client.get(f"{root}/{path}")
    assert "root:" not in answer.text
