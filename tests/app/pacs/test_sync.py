"""The pool follows what a real Orthanc holds."""

import errno
import os
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import requests
from numpy.typing import NDArray
from pydantic import HttpUrl
from pydicom.uid import UID
from sqlalchemy import select

from app import images, jobs
from app.calcium.labels import LABELS
from app.errors import CacheError, ImagingError, PacsDownError
from app.imaging.dicom.dicomweb import DicomwebServer, RemoteSeries
from app.imaging.dicom.segmentation import write_segmentation
from app.imaging.volume_hash import content_hash
from app.pacs import retrieval, status
from app.pacs.prefetch import prefetch
from app.pacs.status import PacsStatus
from app.pacs.sync import _Known, _Sync, _to_look_at_again, request_sync_if_due, sync
from app.store.tables import ImageRow, LabelRow, SegmentationRow
from tests.app.imaging.segmentations import DERIVATION
from tests.app.pacs.conftest import PacsSite
from tests.app.pool import add_model_version, label_row
from tests.dicomweb_stub import Answer, Query, stub
from tests.factories import SHAPE, make_volume, write_dicom
from tests.real_data import real_data

_SLICES = 6
"""Slices of a real series that are enough to show that it comes through."""


def pacs_status(site: PacsSite) -> PacsStatus:
    with site.context.database.reading() as session:
        found = status.pacs_status(session, site.context.settings)
    assert found is not None
    return found


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def label(site: PacsSite, image_id: str) -> None:
    with site.context.database.writing() as session:
        session.add(label_row(image_id))


def drawn() -> NDArray[np.uint8]:
    """Return a label map with one plaque in the RCA."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[2, 2:4, 3:5] = LABELS["RCA"]
    return labels


def neighbours(folder: Path) -> tuple[str, list[Path]]:
    """Return the lowest slices of a real series, and its SeriesInstanceUID."""
    headers = [
        pydicom.dcmread(path, stop_before_pixels=True)
        for path in folder.rglob("*")
        if path.is_file() and path.read_bytes()[128:132] == b"DICM"
    ]
    uid = min(str(header.SeriesInstanceUID) for header in headers)
    chosen = [header for header in headers if str(header.SeriesInstanceUID) == uid]
    chosen.sort(key=lambda header: float(header.ImagePositionPatient[2]))
    return uid, [Path(str(header.filename)) for header in chosen[:_SLICES]]


class TestNewSeries:
    def test_is_an_image_named_by_its_uid(self, site: PacsSite) -> None:
        uid = site.add_series(1, StudyDate="20260102", StudyTime="101112")
        assert site.run(sync)["registered"] == 1
        row = site.image(uid)
        assert (row.source, row.kind) == ("dicomweb", "dicom")
        assert row.path == f"{row.study_uid}/{uid}"
        assert (row.patient_id, row.modality) == ("patient-1", "CT")
        assert (row.study_date, row.study_time) == ("20260102", "101112")
        assert row.content_sha256 == content_hash(make_volume(seed=1))

    def test_is_retrieved_once(self, site: PacsSite) -> None:
        site.add_series(1)
        site.run(sync)
        assert site.run(sync) | {"unchanged": 1, "registered": 0} == site.run(sync)

    def test_asks_for_scores_once(self, site: PacsSite) -> None:
        with site.context.database.writing() as session:
            add_model_version(session)
        uid = site.add_series(1)
        site.run(sync)
        site.run(sync)
        assert site.scored() == [uid]

    def test_only_what_the_filter_lets_in(self, site: PacsSite) -> None:
        wanted = site.add_series(1, SeriesDescription="CaScore 3.0")
        site.add_series(2, SeriesDescription="Thorax 1.0")
        site.add_series(3, SeriesDescription="CaScore 3.0", Modality="MR")
        filters = {"Modality": "CT", "SeriesDescription": "CaScore?3*"}
        site.with_settings(pacs_filter=filters).run(sync)
        assert site.present() == {wanted}

    def test_a_removed_image_stays_away(self, site: PacsSite) -> None:
        uid = site.add_series(1)
        site.run(sync)
        with site.context.database.writing() as session:
            images.remove_image(session, uid, actor="a", now=1.0)
        assert site.run(sync)["registered"] == 0
        assert site.present() == set()

    @pytest.mark.parametrize("name", ["qrm-phantom", "cptac-chest"])
    def test_a_real_series_comes_as_it_is(self, site: PacsSite, name: str) -> None:
        uid, files = neighbours(real_data(name))
        site.remote.upload(files)
        site.run(sync)
        row = site.image(uid)
        assert row.shape["z"] == len(files)
        volume = images.open_volume(site.context.settings, site.context.files, row)
        first = pydicom.dcmread(files[0])
        stored = first.pixel_array * first.RescaleSlope + first.RescaleIntercept
        assert (volume.hu[0] == stored).all()


class TestArrivingSeries:
    def test_waits_until_it_is_whole(self, site: PacsSite, monkeypatch: pytest.MonkeyPatch) -> None:
        files = write_dicom(site.folder / "arriving", make_volume(seed=2))
        site.remote.upload(files[:3])
        fetch = retrieval.fetch

        def fetch_while_more_comes(*given: Any, **more: Any) -> Path:
            folder = fetch(*given, **more)
            site.remote.upload(files[3:])
            return folder

        with monkeypatch.context() as patch:
            patch.setattr(retrieval, "fetch", fetch_while_more_comes)
            # Three slices are a sound volume, and half a heart.
            report = site.run(sync)
        assert (report["arriving"], report["registered"]) == (1, 0)
        assert site.run(sync)["registered"] == 1
        (uid,) = site.present()
        assert site.image(uid).shape["z"] == len(files)


class TestSeriesNotToTrust:
    def test_is_listed_with_its_reason(self, site: PacsSite) -> None:
        whole = site.add_series(1)
        broken = write_dicom(site.folder / "broken", make_volume(seed=2))
        site.remote.upload(broken[:2] + broken[3:])
        report = site.run(sync)
        assert (report["registered"], report["quarantined"]) == (1, 1)
        uid = str(pydicom.dcmread(broken[0]).SeriesInstanceUID)
        assert site.present() == {whole}
        assert list(site.quarantine()) == [f"dicomweb/{uid}"]
        assert "slice(s) missing" in site.quarantine()[f"dicomweb/{uid}"]

    def test_is_an_image_once_its_missing_slice_has_come(self, site: PacsSite) -> None:
        files = write_dicom(site.folder / "broken", make_volume(seed=2))
        site.remote.upload(files[:2] + files[3:])
        site.run(sync)
        site.remote.upload([files[2]])
        assert site.run(sync)["registered"] == 1
        site.run(sync)
        assert site.quarantine() == {}
        assert len(site.present()) == 1

    def test_is_not_retrieved_again_as_long_as_it_is_the_same(self, site: PacsSite) -> None:
        files = write_dicom(site.folder / "broken", make_volume(seed=2))
        site.remote.upload(files[:2] + files[3:])
        site.run(sync)
        cache = site.context.settings.cache / "dicomweb"
        assert list(cache.iterdir()) == []
        assert site.run(sync)["quarantined"] == 1
        assert list(cache.iterdir()) == []


class TestChangedSeries:
    def test_is_taken_over_while_nobody_has_labeled_it(self, site: PacsSite) -> None:
        files = write_dicom(site.folder / "growing", make_volume(seed=2))
        site.remote.upload(files[:3])
        site.run(sync)
        site.remote.upload(files[3:])
        assert site.run(sync)["registered"] == 1
        (uid,) = site.present()
        assert site.image(uid).shape["z"] == len(files)

    def test_never_meets_the_labels_of_the_one_before(self, site: PacsSite) -> None:
        files = write_dicom(site.folder / "growing", make_volume(seed=2))
        site.remote.upload(files[:3])
        site.run(sync)
        (uid,) = site.present()
        label(site, uid)
        site.remote.upload(files[3:])
        site.run(sync)
        assert site.present() == set()
        assert "after image" in site.quarantine()[f"dicomweb/{uid}"]
        assert site.image(uid).shape["z"] == 3

    def test_is_noticed_although_it_has_as_many_instances(self, site: PacsSite) -> None:
        uid = site.add_series(1)
        site.run(sync)
        before = site.image(uid).content_sha256
        site.remote.delete_series(uid)
        for number, path in enumerate(site.files(1)):
            dataset = pydicom.dcmread(path)
            dataset.SOPInstanceUID = UID(f"1.2.{number}")
            dataset.file_meta.MediaStorageSOPInstanceUID = UID(f"1.2.{number}")
            dataset.PixelData = dataset.PixelData[2:] + dataset.PixelData[:2]
            dataset.save_as(path)
        site.remote.upload(site.files(1))
        assert site.run(sync)["registered"] == 1
        assert site.image(uid).content_sha256 != before
        assert site.run(sync)["unchanged"] == 1

    def test_every_known_series_is_compared_in_its_turn(self, site: PacsSite) -> None:
        uids = [f"1.2.{number}" for number in range(25)]
        known = _Known("4 instances", is_missing=False, is_removed=False)
        found = [RemoteSeries("1.2", uid, "CT", 4) for uid in uids]
        turns = []
        now = 7200.0
        context = replace(site.context, clock=lambda: now)
        looking = _Sync(context, DicomwebServer("http://x"), dict.fromkeys(uids, known), {})
        for _ in range(3):
            now += 60.0
            turns.append(_to_look_at_again(looking, found))
        assert [len(turn) for turn in turns] == [10, 10, 10]
        assert set.union(*turns) == set(uids)

    def test_pixels_changed_under_the_same_uids_are_refused(self, site: PacsSite) -> None:
        uid = site.add_series(1)
        site.run(sync)
        for path in site.files(1):
            dataset = pydicom.dcmread(path)
            dataset.PixelData = dataset.PixelData[2:] + dataset.PixelData[:2]
            dataset.save_as(path)
        site.remote.upload(site.files(1))
        (site.context.settings.cache / "dicomweb" / uid).rename(site.folder / "evicted")
        with pytest.raises(ImagingError, match="changed on the DICOMweb server"):
            images.open_volume(site.context.settings, site.context.files, site.image(uid))


class TestGoneSeries:
    def test_is_missing_and_comes_back(self, site: PacsSite) -> None:
        kept, gone = site.add_series(1), site.add_series(2)
        site.run(sync)
        site.remote.delete_series(gone)
        assert site.run(sync)["missing"] == 1
        assert site.present() == {kept}
        site.remote.upload(site.files(2))
        assert site.run(sync)["registered"] == 1
        assert site.present() == {kept, gone}

    def test_one_that_a_search_passes_over_is_not_missing(
        self, site: PacsSite, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        uids = {site.add_series(1), site.add_series(2)}
        site.run(sync)
        find = DicomwebServer.find_series

        def find_too_little(server: DicomwebServer, filters: Any) -> list[RemoteSeries]:
            found = find(server, filters)
            # As when the pages shift because others store and delete meanwhile.
            return found if "SeriesInstanceUID" in filters else found[1:]

        monkeypatch.setattr(DicomwebServer, "find_series", find_too_little)
        assert site.run(sync)["missing"] == 0
        assert site.present() == uids

    def test_an_image_of_the_folder_before_is_taken_over_with_its_labels(
        self, site: PacsSite
    ) -> None:
        uid = site.add_series(1)
        site.run(sync)
        with site.context.database.writing() as session:
            row = session.get(ImageRow, uid)
            assert row is not None
            row.source, row.path, row.missing_since = "studies", "patient/series", 1.0
        label(site, uid)
        assert site.run(sync)["registered"] == 1
        assert site.image(uid).source == "dicomweb"
        assert site.present() == {uid}


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
            write_segmentation(site.files(seed), drawn(), replace(DERIVATION, seed=str(seed)))
            for seed in (1, 2)
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


class TestScores:
    def test_that_an_outage_prevented_are_asked_for_once_in_an_hour(self, site: PacsSite) -> None:
        now = 7200.0
        site = replace(site, context=replace(site.context, clock=lambda: now))
        uid = site.add_series(1)
        with site.context.database.writing() as session:
            add_model_version(session)
        site.run(sync)
        assert site.scored() == [uid]
        with site.context.database.writing() as session:
            job = jobs.running(session, "score")
            assert job is not None
            jobs.finish(session, job.id, "done", ["1 failed"], now=now)
        now += 60.0
        site.run(sync)
        assert site.scored() == [uid]
        now += 3600.0
        site.run(sync)
        assert site.scored() == [uid, uid]


class TestSegmentations:
    def test_of_an_image_becomes_its_label_once(self, site: PacsSite) -> None:
        uid = site.add_series(1)
        site.remote.upload([write_segmentation(site.files(1), drawn(), DERIVATION)])
        assert site.run(sync)["labels"] == 1
        assert site.run(sync)["labels"] == 0
        with site.context.database.reading() as session:
            rows = session.scalars(select(LabelRow)).all()
        assert [(row.image_id, row.tag, row.version) for row in rows] == [(uid, "final", 1)]

    def test_is_found_by_the_date_of_its_study_and_once_in_an_hour_by_any(
        self, site: PacsSite
    ) -> None:
        now = 7200.0
        site = replace(site, context=replace(site.context, clock=lambda: now))
        for seed, date in ((1, "20260102"), (2, "20260304")):
            site.add_series(seed, StudyDate=date)
        site.run(sync)
        site.remote.upload([write_segmentation(site.files(1), drawn(), DERIVATION)])
        now += 60.0
        assert site.run(sync)["labels"] == 1
        with site.context.database.writing() as session:
            for row in session.scalars(select(ImageRow)):
                row.study_date = "20250101"
        other = replace(DERIVATION, seed="another")
        site.remote.upload([write_segmentation(site.files(2), drawn(), other)])
        now += 60.0
        # The PACS knows this study by another date.
        assert site.run(sync)["labels"] == 0
        now += 3600.0
        assert site.run(sync)["labels"] == 1

    def test_of_a_study_without_images_is_not_retrieved(self, site: PacsSite) -> None:
        site.add_series(1)
        site.remote.upload([write_segmentation(site.files(1), drawn(), DERIVATION)])
        elsewhere = site.with_settings(pacs_filter={"Modality": "CT", "PatientID": "nobody"})
        assert elsewhere.run(sync)["labels"] == 0
        with site.context.database.reading() as session:
            assert session.scalars(select(SegmentationRow)).all() == []

    def test_what_only_says_that_it_is_one_is_noted(self, site: PacsSite) -> None:
        site.add_series(1)
        pretender = pydicom.dcmread(site.files(1)[0])
        pretender.Modality, pretender.SeriesInstanceUID = "SEG", "1.2.3"
        pretender.SOPInstanceUID = "1.2.4"
        pretender.save_as(site.folder / "pretender.dcm")
        site.remote.upload([site.folder / "pretender.dcm"])
        assert site.run(sync)["labels"] == 0
        with site.context.database.reading() as session:
            (row,) = session.scalars(select(SegmentationRow)).all()
        assert row.sop_uid == "1.2.4"
        assert row.label_id is None
        assert row.problem


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


class TestRequests:
    def test_one_at_a_time_and_not_too_often(self, site: PacsSite) -> None:
        seconds = site.context.settings.pacs_sync_seconds

        def requested(now: float) -> int:
            request_sync_if_due(replace(site.context, clock=lambda: now))
            with site.context.database.reading() as session:
                return len(jobs.history(session, "sync"))

        # The first one is still waiting, however much time goes by.
        assert [requested(now) for now in (100.0, 101.0, 101.0 + seconds)] == [1, 1, 1]
        with site.context.database.writing() as session:
            job = jobs.latest(session, "sync")
            assert job is not None
            jobs.finish(session, job.id, "done", [], now=101.0)
        assert requested(99.0 + seconds) == 1
        assert requested(101.0 + seconds) == 2

    def test_old_ones_are_forgotten(self, site: PacsSite) -> None:
        with site.context.database.writing() as session:
            for number in range(60):
                job = jobs.request_job(session, "sync", {}, now=float(number))
                jobs.finish(session, job.id, "done", [], now=float(number))
        forgotten = request_sync_if_due(site.context)
        assert len(forgotten) == 10
        with site.context.database.reading() as session:
            kept = jobs.history(session, "sync")
        assert len(kept) == 51
        assert min(job.created_at for job in kept) == 10.0
