"""The pool follows the series that a real Orthanc holds."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import UID

from app import images
from app.errors import ImagingError
from app.imaging.dicom.dicomweb import DicomwebServer, RemoteSeries
from app.imaging.volume_hash import content_hash
from app.pacs import retrieval
from app.pacs.sync import _Known, _Sync, _to_look_at_again, sync
from app.store.tables import ImageRow
from tests.app.pacs.conftest import PacsSite
from tests.app.pool import add_model_version, label_row
from tests.factories import make_volume, write_dicom
from tests.real_data import real_data

_SLICES = 6
"""Slices of a real series that are enough to show that it comes through."""


def label(site: PacsSite, image_id: str) -> None:
    with site.context.database.writing() as session:
        session.add(label_row(image_id))


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
