"""What a real Orthanc or the disk fails to give keeps nothing else away, and comes later."""

import errno
import os
from dataclasses import replace
from io import BytesIO

import pydicom
import pytest
import requests
from pydantic import HttpUrl
from sqlalchemy import select

from app import images, jobs
from app.errors import CacheError, PacsDownError
from app.imaging.dicom.dicomweb import DicomwebServer
from app.imaging.volume_hash import content_hash
from app.pacs import retrieval, status
from app.pacs.prefetch import prefetch
from app.pacs.status import PacsStatus
from app.pacs.sync import sync
from app.store.tables import LabelRow
from tests.app.imaging.segmentations import DERIVATION
from tests.app.pacs.conftest import PacsSite
from tests.app.pacs.sync.drawing import segmentation_of
from tests.dicomweb_stub import Answer, Query, stub


def pacs_status(site: PacsSite) -> PacsStatus:
    with site.context.database.reading() as session:
        found = status.pacs_status(session, site.context.settings)
    assert found is not None
    return found


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class TestWhatTheServerFailsToGive:
    def test_keeps_no_other_series_away(self, site: PacsSite) -> None:
        uids = [site.add_series(seed) for seed in (1, 2, 3)]
        site.lose_a_file(site.files(2)[1].read_bytes())
        assert site.run(sync)["registered"] == 2
        assert site.present() == {uids[0], uids[2]}
        assert site.quarantine()[f"dicomweb/{uids[1]}"].startswith("the DICOMweb server")

    def test_is_asked_for_again_after_a_pause(self, site: PacsSite) -> None:
        now = 7200.0
        site = replace(site, context=replace(site.context, clock=lambda: now))
        uid = site.add_series(1)
        site.lose_a_file(site.files(1)[1].read_bytes())
        site.run(sync)
        site.remote.upload(site.files(1))
        now += 60.0
        assert site.run(sync)["quarantined"] == 1
        now += 600.0
        assert site.run(sync)["registered"] == 1
        assert site.present() == {uid}
        assert site.quarantine() == {}

    def test_keeps_no_other_segmentation_away(self, site: PacsSite) -> None:
        now = 7200.0
        site = replace(site, context=replace(site.context, clock=lambda: now))
        uids = [site.add_series(seed) for seed in (1, 2)]
        contents = [
            segmentation_of(site, seed, replace(DERIVATION, seed=str(seed))) for seed in (1, 2)
        ]
        site.remote.upload(contents)
        lost = {str(pydicom.dcmread(BytesIO(contents[0])).SOPInstanceUID)}

        def passed_on(query: Query) -> Answer:
            if query.path.rpartition("/")[2] in lost:
                return Answer(status=500)
            path = query.path.removeprefix("/dicom-web")
            accept = {"Accept": query.headers["Accept"]}
            found = requests.get(site.remote.url + path, query.values, headers=accept, timeout=30.0)
            return Answer(found.content, found.headers["Content-Type"])

        with stub(passed_on) as running:
            site = site.with_settings(studies=HttpUrl(running.url))
            assert site.run(sync)["labels"] == 1
            lost.clear()
            now += 60.0
            assert site.run(sync)["labels"] == 0
            now += 3600.0
            assert site.run(sync)["labels"] == 1
        with site.context.database.reading() as session:
            assert set(session.scalars(select(LabelRow.image_id))) == set(uids)

    def test_keeps_no_other_image_from_being_made_ready(self, site: PacsSite) -> None:
        uids = [site.add_series(seed) for seed in (1, 2)]
        site.run(sync)
        for uid in uids:
            retrieval.discard(site.context.settings, uid)
        site.lose_a_file(site.files(1)[1].read_bytes())
        with pytest.raises(PacsDownError):
            site.run(prefetch, images=uids)
        assert site.image(uids[1]).file_sha256


def test_a_cache_that_cannot_be_written_is_told_and_no_fault_of_the_series(
    site: PacsSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = site.add_series(1)
    monkeypatch.setattr(DicomwebServer, "retrieve", full_disk)
    with pytest.raises(CacheError, match="No space left"):
        site.run(sync)
    assert pacs_status(site).problem.endswith("No space left on device")
    assert site.quarantine() == {}
    monkeypatch.undo()
    site.run(sync)
    assert site.present() == {uid}


class TestServerDown:
    def test_marks_nothing_as_missing_and_says_so(self, site: PacsSite) -> None:
        uid = site.add_series(1)
        site.run(sync)
        before = pacs_status(site)
        site.remote.kill()
        with pytest.raises(PacsDownError):
            site.run(sync)
        assert site.present() == {uid}
        after = pacs_status(site)
        assert (before.is_reachable, after.is_reachable) == (True, False)
        assert after.synced_at == before.synced_at
        assert after.problem == "the DICOMweb server cannot be reached"
        with pytest.raises(PacsDownError):
            site.run(sync)
        assert pacs_status(site).failed_at == after.failed_at

    def test_killed_between_two_series_goes_on_after_its_return(self, site: PacsSite) -> None:
        uids = {site.add_series(seed) for seed in (1, 2, 3)}
        with site.context.database.writing() as session:
            job = jobs.request_job(session, "sync", {}, now=0.0)
        units = sync(site.context, job)
        for _ in range(2):
            next(units)
        site.remote.kill()
        with pytest.raises(PacsDownError):
            list(units)
        assert len(site.present()) == 1
        site.remote.start()
        assert site.run(sync)["registered"] == 2
        assert site.present() == uids
        assert pacs_status(site).is_reachable

    def test_a_cached_image_is_still_served(self, site: PacsSite) -> None:
        uid = site.add_series(1)
        site.run(sync)
        site.remote.kill()
        volume = images.open_volume(site.context.settings, site.context.files, site.image(uid))
        assert content_hash(volume) == site.image(uid).content_sha256

    def test_an_evicted_image_says_that_the_server_is_away(self, site: PacsSite) -> None:
        uid = site.add_series(1)
        site.run(sync)
        (site.context.settings.cache / "dicomweb" / uid).rename(site.folder / "evicted")
        site.remote.kill()
        with pytest.raises(PacsDownError, match=f"cannot be reached, and image {uid} is not"):
            images.open_volume(site.context.settings, site.context.files, site.image(uid))
