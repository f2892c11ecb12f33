"""``/session/``: temporary images."""

from collections.abc import Iterator

import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session

from app.imaging.volume import Volume
from app.store.tables import Json
from tests.factories import make_volume, write_dicom
from tests.server.conftest import Site
from tests.server.pool import image_bytes


def open_session(site: Site, query: str = "") -> Json:
    answer = site.client.put(
        f"/session/{query}",
        files=[("files", ("case_2.nii.gz", image_bytes()))],
        data={"client_id": "user-xyz"},
    )
    assert answer.status_code == 200, answer.text
    body: Json = answer.json()
    return body


def test_opens_with_everything_the_clients_read(site: Site) -> None:
    opened = open_session(site, "?expiry=600")
    info = opened["session_info"]
    assert info["name"] == opened["session_id"]
    assert info["image"] == "case_2.nii.gz"
    assert info["expiry"] == 600
    assert info["create_ts"] == info["last_access_ts"]
    assert str(site.services.settings.data) not in str(opened)


@pytest.mark.parametrize("expiry", [0, -5, 10**9])
def test_life_is_limited(site: Site, expiry: int) -> None:
    # 60 minutes by default.
    assert open_session(site, f"?expiry={expiry}")["session_info"]["expiry"] == 3600


def test_the_image_comes_back_as_binary(site: Site) -> None:
    session_id = open_session(site)["session_id"]
    answer = site.client.get(f"/session/{session_id}?image=true")
    assert answer.content == image_bytes()
    assert answer.headers["content-type"] == "application/octet-stream"


def test_is_not_in_the_pool(site: Site) -> None:
    open_session(site)
    assert site.stats()["total"] == 0


def test_a_removed_session_is_gone_with_its_files(site: Site) -> None:
    session_id = open_session(site)["session_id"]
    removed = site.client.delete(f"/session/{session_id}")
    assert removed.json()["name"] == session_id
    assert site.client.get(f"/session/{session_id}").status_code == 404
    assert site.client.delete(f"/session/{session_id}").status_code == 404
    assert not (site.services.settings.data / "sessions" / session_id).exists()


@pytest.mark.parametrize("session_id", ["xyz", "%2e%2e%2fx"])
def test_an_unknown_session_is_404(site: Site, session_id: str) -> None:
    assert site.client.get(f"/session/{session_id}").status_code == 404


def test_a_dicom_series_of_many_files_is_one_image(
    site: Site, tmp_path_factory: pytest.TempPathFactory
) -> None:
    volume: Volume = make_volume()
    paths = write_dicom(tmp_path_factory.mktemp("series"), volume)
    files = [("files", (path.name, path.read_bytes())) for path in paths]
    opened = site.client.put("/session/", files=files)
    assert opened.status_code == 200
    answer = site.client.get(f"/session/{opened.json()['session_id']}?image=true")
    assert answer.status_code == 422


def test_what_is_no_image_is_refused_and_not_kept(site: Site) -> None:
    answer = site.client.put("/session/", files=[("files", ("a.nii.gz", b"nothing"))])
    assert answer.status_code == 422
    assert list((site.services.settings.data / "sessions").iterdir()) == []
    assert list((site.services.settings.data / "incoming").iterdir()) == []


@pytest.fixture
def commits() -> Iterator[list[Session]]:
    made: list[Session] = []
    note = made.append
    event.listen(Session, "after_commit", note)
    yield made
    event.remove(Session, "after_commit", note)


def test_a_session_comes_and_goes_in_one_transaction_each(
    site: Site, commits: list[Session]
) -> None:
    session_id = open_session(site)["session_id"]
    assert len(commits) == 1
    site.client.delete(f"/session/{session_id}")
    assert len(commits) == 2
