"""What the synchronisation asks for and takes over comes in its turn, and once."""

from dataclasses import replace

import pydicom
from sqlalchemy import select

from app import jobs
from app.pacs.sync import request_sync_if_due, sync
from app.store.tables import ImageRow, LabelRow, SegmentationRow
from tests.app.imaging.segmentations import DERIVATION
from tests.app.pacs.conftest import PacsSite
from tests.app.pacs.sync.drawing import segmentation_of
from tests.app.pool import add_model_version


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
        site.remote.upload([segmentation_of(site, 1)])
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
        site.remote.upload([segmentation_of(site, 1)])
        now += 60.0
        assert site.run(sync)["labels"] == 1
        with site.context.database.writing() as session:
            for row in session.scalars(select(ImageRow)):
                row.study_date = "20250101"
        other = replace(DERIVATION, seed="another")
        site.remote.upload([segmentation_of(site, 2, other)])
        now += 60.0
        # The PACS knows this study by another date.
        assert site.run(sync)["labels"] == 0
        now += 3600.0
        assert site.run(sync)["labels"] == 1

    def test_of_a_study_without_images_is_not_retrieved(self, site: PacsSite) -> None:
        site.add_series(1)
        site.remote.upload([segmentation_of(site, 1)])
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
