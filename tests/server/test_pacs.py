"""What clients and admins are told of the DICOMweb server; it is never asked by a request."""

import shutil
from pathlib import Path

import pytest
from sqlalchemy import update

from app.pacs import status
from app.settings import Settings
from app.store.tables import ExportRow, ImageRow, LabelRow
from tests.server.conftest import Site

_URL = "http://127.0.0.1:9/dicom-web"
"""Nobody listens on the discard port."""


@pytest.fixture
def settings(tmp_path: Path, empty_database: Path) -> Settings:
    data = tmp_path / "data"
    data.mkdir()
    shutil.copy(empty_database, data / "caclabel.sqlite")
    with_password = _URL.replace("//", "//caclabel:s3cret@")
    return Settings.model_validate({"data": data, "studies": with_password, "infer_timeout_s": 5})


def pacs(site: Site) -> dict[str, object]:
    """Return what ``/health`` tells of the server."""
    body = site.client.get("/health").json()
    found: dict[str, object] = body["pacs"]
    return found


class TestHealth:
    def test_tells_the_address_without_the_password(self, site: Site) -> None:
        assert "s3cret" not in site.client.get("/health").text
        assert pacs(site)["url"] == _URL

    def test_a_server_that_was_never_reached_is_not_reachable(self, site: Site) -> None:
        assert pacs(site)["is_reachable"] is False
        assert "synced_at" not in pacs(site)

    def test_tells_since_when_it_is_away_and_when_it_is_back(self, site: Site) -> None:
        settings, database = site.services.settings, site.services.database
        with database.writing() as session:
            status.note_answer(session, settings, now=10.0, is_complete=True)
        assert pacs(site)["is_reachable"] is True
        for now in (20.0, 30.0):
            with database.writing() as session:
                status.note_failure(session, settings, "it is away", now=now)
        away = pacs(site)
        assert (away["is_reachable"], away["failed_at"], away["problem"]) == (
            False,
            20.0,
            "it is away",
        )
        assert (away["reached_at"], away["synced_at"]) == (10.0, 10.0)
        with database.writing() as session:
            status.note_answer(session, settings, now=40.0)
        back = pacs(site)
        assert (back["is_reachable"], back["problem"], back["synced_at"]) == (True, "", 10.0)
        assert "failed_at" not in back

    def test_counts_what_still_has_to_be_stored_there(self, pool: Site) -> None:
        for number in range(3):
            # The same label again, saying the same, is no further one.
            pool.submit("case_1", params=f'{{"remark": {number}}}')
        with pool.services.database.writing() as session:
            labels = session.query(LabelRow).all()
            for label, state in zip(labels, ("waiting", "waiting", "failed"), strict=True):
                session.add(ExportRow(label_id=label.id, status=state, next_at=0.0))
        assert (pacs(pool)["exports_waiting"], pacs(pool)["exports_failed"]) == (2, 1)


class TestSamples:
    def test_of_the_server_tell_where_to_retrieve_the_series(self, pool: Site) -> None:
        with pool.services.database.writing() as session:
            series = {"path": "1.2/1.3", "study_uid": "1.2", "series_uid": "1.3"}
            session.execute(
                update(ImageRow).values(source="dicomweb", kind="dicom", file_sha256="", **series)
            )
        sample = pool.client.post("/activelearning/first").json()
        # On this server: clients see neither the PACS nor its address.
        address = "http://testserver/proxy/dicom/wado/studies/1.2/series/1.3"
        assert sample["RetrieveURL"] == address
        assert _URL not in str(sample)

    def test_without_checksum_have_a_name_that_no_other_content_has(self, pool: Site) -> None:
        def names() -> set[str]:
            with pool.services.database.writing() as session:
                session.execute(update(ImageRow).values(file_sha256=""))
            client = {"client_id": "a"}
            first = pool.client.post("/activelearning/first", json=client).json()
            assert "checksum" not in first
            assert first["name"].startswith(f"{first['id']}-")
            assert first["name"].endswith(".nii.gz")
            return {first["name"]}

        before = names()
        with pool.services.database.writing() as session:
            session.execute(update(ImageRow).values(content_sha256="f" * 64))
        assert not before & names()

    def test_of_elsewhere_do_not(self, pool: Site) -> None:
        assert "RetrieveURL" not in pool.client.post("/activelearning/first").json()


def test_an_image_that_cannot_be_retrieved_is_an_answer_of_one_sentence(pool: Site) -> None:
    site = pool
    row = {"source": "dicomweb", "kind": "dicom", "path": "1.2/1.3", "series_uid": "1.3"}
    with site.services.database.writing() as session:
        session.execute(update(ImageRow).values(**row))
    answer = site.client.get("/datastore/image?image=case_1")
    assert answer.status_code == 503
    assert answer.json()["detail"] == (
        "the DICOMweb server cannot be reached, and image case_1 is not in the cache"
    )
