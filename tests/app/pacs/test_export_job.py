"""Labels on their way to a real DICOMweb server."""

import itertools
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
import requests
from numpy.typing import NDArray
from pydantic import HttpUrl

from app import jobs, labels
from app.calcium.score import calcium_scores
from app.errors import ConflictError, NotFoundError
from app.imaging.dicom.dicomweb import dicomweb_server
from app.imaging.dicom.report import read_report
from app.imaging.dicom.segmentation_reader import read_segmentation
from app.imaging.labelmap import read_label_map
from app.pacs import export_job, exports
from app.pacs.segmentations import take_segmentation, unknown_segmentations
from app.store.tables import ExportRow
from tests.app.imaging.segmentations import canonical, foreign_segmentation
from tests.app.pacs.export_site import ExportSite, closing, make_site, run_export, unreachable
from tests.app.pool import add_image, add_model_version, add_prediction, label_row
from tests.dicomweb_stub import Answer, Query, stub
from tests.factories import SHAPE, make_labels
from tests.orthanc import OrthancServer, orthanc

_SEEDS = itertools.count(100)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrthancServer]:
    with orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


@pytest.fixture
def site(server: OrthancServer, tmp_path: Path, migrated_file: Path) -> Iterator[ExportSite]:
    yield from closing(make_site(server, tmp_path, migrated_file, seed=next(_SEEDS)))


def calcified() -> NDArray[np.uint8]:
    label = np.zeros(SHAPE, np.uint8)
    label[1:3, 1:4, 1:4], label[4, 2:5, 3:6], label[0, 0, :] = 2, 4, 6
    return label


def stored(server: OrthancServer, site: ExportSite, modality: str) -> list[bytes]:
    """Return the instances of a modality in the study of the image."""
    study = str(pydicom.dcmread(site.files[0]).StudyInstanceUID)
    names = server.find("Instance", StudyInstanceUID=study, Modality=modality)
    return [server.request("GET", f"/instances/{name}/file").content for name in names]


def test_a_label_comes_to_the_server_as_it_was_drawn(
    server: OrthancServer, site: ExportSite
) -> None:
    site.submit(calcified())
    site.export()
    (segmentation,), (report,) = (stored(server, site, kind) for kind in ("SEG", "SR"))
    np.testing.assert_array_equal(canonical(segmentation, site.volume.grid), calcified())
    scores = calcium_scores(
        site.volume.hu, calcified(), spacing_mm=site.volume.spacing_mm, kvp=site.volume.kvp
    )
    read = read_report(report)
    assert (read.total, read.arteries) == (scores.total, dict(scores.arteries))
    (row,) = site.exports()
    assert (row.status, row.attempts, row.problem) == ("done", 1, "")
    assert row.seg_uid == pydicom.dcmread(BytesIO(segmentation)).SOPInstanceUID
    assert (row.sr_uid, read.segments["LAD"]) == (read.sop_uid, (row.seg_uid, 1))


def test_while_the_server_is_down_labels_wait_and_then_go_once(
    server: OrthancServer, site: ExportSite
) -> None:
    server.kill()
    try:
        label = site.submit(calcified())
        site.export()
        (row,) = site.exports()
        assert site.labels()[0].id == label.id
        assert (row.status, row.attempts, row.next_at) == ("waiting", 1, site.clock() + 60)
        assert "DICOMweb server" in row.problem
    finally:
        server.start()
    site.export()
    assert stored(server, site, "SEG") == [], "tried again before its time"
    site.clock.now += 60
    for _ in range(2):
        site.export()
    assert site.exports()[0].status == "done"
    assert [len(stored(server, site, kind)) for kind in ("SEG", "SR")] == [1, 1]


def test_what_is_stored_again_after_a_kill_is_the_same_instance(
    server: OrthancServer, site: ExportSite
) -> None:
    site.submit(calcified())
    site.export()
    before = stored(server, site, "SEG")
    # As if the worker had been killed between storing and noting that.
    with site.context.database.writing() as session:
        row = session.merge(site.exports()[0])
        row.status, row.ended_at, row.next_at = "waiting", None, site.clock()
    site.export()
    assert site.exports()[0].attempts == 2
    assert stored(server, site, "SEG") == before
    assert len(stored(server, site, "SR")) == 1


def test_a_label_that_a_newer_one_replaced_stays_here(
    server: OrthancServer, site: ExportSite
) -> None:
    site.submit(make_labels())
    site.clock.now += 1
    site.submit(calcified())
    site.export()
    old, new = site.exports()
    assert (old.status, old.problem) == ("dropped", "a newer label took its place")
    assert new.status == "done"
    (segmentation,) = stored(server, site, "SEG")
    np.testing.assert_array_equal(canonical(segmentation, site.volume.grid), calcified())


def test_a_deleted_label_stays_here(server: OrthancServer, site: ExportSite) -> None:
    label = site.submit(calcified())
    with site.context.database.writing() as session:
        labels.delete_label(session, label.image_id, "final", actor="anna", now=site.clock())
    site.export()
    assert (site.exports()[0].status, site.exports()[0].problem) == (
        "dropped",
        "the label was deleted",
    )
    assert stored(server, site, "SEG") == []


def test_no_calcium_is_a_report_of_zeros_and_a_segmentation_of_nothing(
    server: OrthancServer, site: ExportSite
) -> None:
    site.submit(np.zeros(SHAPE, np.uint8))
    site.export()
    (report,), (segmentation,) = stored(server, site, "SR"), stored(server, site, "SEG")
    assert read_report(report).total.agatston == 0
    (row,) = site.exports()
    assert (row.status, row.seg_uid) == ("done", read_segmentation(segmentation).sop_uid)
    names = [segment.name for segment in read_segmentation(segmentation).segments]
    assert names == ["LM", "LAD", "LCX", "RCA"]
    assert not canonical(segmentation, site.volume.grid).any()


def test_regions_alone_have_no_scores_to_report(server: OrthancServer, site: ExportSite) -> None:
    label = np.zeros(SHAPE, np.uint8)
    label[1:3], label[3:] = 6, 8
    site.submit(label, names={"LAD_region": 6, "RCA_region": 8})
    site.export()
    (row,) = site.exports()
    assert (row.status, row.sr_uid) == ("done", "")
    (segmentation,) = stored(server, site, "SEG")
    np.testing.assert_array_equal(canonical(segmentation, site.volume.grid), label)
    assert stored(server, site, "SR") == []


def test_a_corrected_prediction_names_the_network(server: OrthancServer, site: ExportSite) -> None:
    with site.context.database.writing() as session:
        version = add_model_version(session)
        add_prediction(session, site.image.id, version.id, uncertainty=0.5)
    site.submit(calcified())
    site.export()
    (content,) = stored(server, site, "SEG")
    segment = pydicom.dcmread(BytesIO(content)).SegmentSequence[0]
    assert segment.SegmentAlgorithmType == "SEMIAUTOMATIC"
    assert segment.SegmentAlgorithmName == "calcium network"


def test_our_own_segmentation_does_not_come_back(server: OrthancServer, site: ExportSite) -> None:
    label = site.submit(calcified())
    site.export()
    (content,) = stored(server, site, "SEG")
    context = site.context
    with context.database.reading() as session:
        assert unknown_segmentations(
            session, {site.exports()[0].seg_uid: "", "1.2.3": ""}, now=1.0
        ) == ["1.2.3"]
    taken = take_segmentation(
        context.database, context.files, context.settings, content, origin="pacs", now=1.0
    )
    assert taken.label is not None
    assert (taken.label.id, taken.is_new) == (label.id, False)
    assert len(site.labels()) == 1


def test_regions_without_calcium_say_that_there_is_none(
    server: OrthancServer, site: ExportSite
) -> None:
    label = np.zeros(SHAPE, np.uint8)
    label[1:3], label[3:] = 6, 8
    site.submit(label)
    site.export()
    (segmentation,), (report,) = (stored(server, site, kind) for kind in ("SEG", "SR"))
    names = [item.SegmentLabel for item in pydicom.dcmread(BytesIO(segmentation)).SegmentSequence]
    assert names == ["LM", "LAD", "LCX", "RCA", "LAD_region", "RCA_region"]
    np.testing.assert_array_equal(canonical(segmentation, site.volume.grid), label)
    assert read_report(report).total.agatston == 0


def test_what_came_from_the_server_is_not_stored_there_again(
    server: OrthancServer, site: ExportSite
) -> None:
    made = foreign_segmentation(site.files, (calcified() == 2).astype(np.uint8), ["LAD calcium"])
    context = site.context
    taken = take_segmentation(
        context.database, context.files, context.settings, made, origin="pacs", now=site.clock()
    )
    assert taken.is_new
    site.export()
    assert site.exports() == []
    assert stored(server, site, "SEG") == []


@pytest.mark.parametrize("is_passed_on", [True, False])
def test_what_a_viewer_stored_is_one_segmentation_and_a_report_of_it(
    server: OrthancServer, site: ExportSite, is_passed_on: bool
) -> None:
    names = ["RCA calcium", "Left anterior descending"]
    pixels = np.stack([calcified() == 4, calcified() == 2], axis=-1).astype(np.uint8)
    made = foreign_segmentation(site.files, pixels, names)
    context = site.context
    taken = take_segmentation(
        context.database, context.files, context.settings, made, origin="stow", now=site.clock()
    )
    assert taken.is_new
    if is_passed_on:
        # Otherwise the server was down when the viewer stored it.
        dicomweb_server(context.settings).store([made])
    site.export()
    (segmentation,), (report,) = (stored(server, site, kind) for kind in ("SEG", "SR"))
    assert pydicom.dcmread(BytesIO(segmentation)).SOPInstanceUID == taken.sop_uid
    read = read_report(report)
    assert read.segments == {"RCA": (taken.sop_uid, 1), "LAD": (taken.sop_uid, 2)}
    (row,) = site.exports()
    assert (row.status, row.seg_uid, row.sr_uid) == ("done", taken.sop_uid, read.sop_uid)


def test_a_segmentation_of_somebody_else_becomes_a_label_once(
    server: OrthancServer, site: ExportSite
) -> None:
    made = foreign_segmentation(site.files, (calcified() == 2).astype(np.uint8), ["LAD calcium"])
    server.upload([made])
    found = pydicom.dcmread(BytesIO(made))
    context = site.context
    content = dicomweb_server(context.settings).retrieve_instance(
        found.StudyInstanceUID, found.SeriesInstanceUID, found.SOPInstanceUID
    )
    first, second = (
        take_segmentation(
            context.database, context.files, context.settings, content, origin="pacs", now=now
        )
        for now in (1.0, 2.0)
    )
    (label,) = site.labels()
    assert (first.is_new, second.is_new) == (True, False)
    assert first.label is not None
    assert first.label.id == label.id
    path = labels.label_file(context.files, label)
    np.testing.assert_array_equal(read_label_map(path).array, np.where(calcified() == 2, 2, 0))
    assert labels.submitted_file(context.files, label).read_bytes() == content


def test_one_attempt_tells_for_all_that_the_server_is_down(
    tmp_path: Path, migrated_file: Path
) -> None:
    context = unreachable(tmp_path, migrated_file)
    with context.database.writing() as session:
        for image_id in ("a", "b"):
            image = add_image(session, image_id)
            image.source, image.kind, image.path = "dicomweb", "dicom", f"1.2/1.{ord(image_id)}"
            label = label_row(image_id)
            session.add(label)
            session.flush()
            exports.request_export(session, context.settings, image, label, now=5.0)
    run_export(context)
    with context.database.reading() as session:
        rows = [export for export, _ in exports.list_exports(session, limit=9)]
    assert sorted(row.attempts for row in rows) == [0, 1]
    assert {row.next_at for row in rows} == {context.clock() + 60}
    assert {row.status for row in rows} == {"waiting"}
    context.database.close()


class TestRefusal:
    @pytest.fixture
    def refusing(self, site: ExportSite) -> Iterator[ExportSite]:
        """Let the series come from the cache, and the server refuse what is stored."""
        refusal = Answer(b'{"Message": "no room for segmentations"}', status=409)
        with stub(lambda _: refusal) as running:
            settings = site.context.settings.model_copy(update={"studies": HttpUrl(running.url)})
            object.__setattr__(site.context, "settings", settings)
            yield site

    def test_a_third_refusal_is_final_and_tells_why(self, refusing: ExportSite) -> None:
        refusing.submit(calcified())
        seen = []
        for _ in range(4):
            refusing.export()
            (row,) = refusing.exports()
            seen.append((row.status, row.attempts))
            refusing.clock.now += 3600
        assert seen == [("waiting", 1), ("waiting", 2), ("failed", 3), ("failed", 3)]
        assert row.problem
        assert len(refusing.labels()) == 1

    def test_outages_before_are_no_refusals(self, refusing: ExportSite) -> None:
        refusing.submit(calcified())
        context = refusing.context
        answering = context.settings
        away = answering.model_copy(update={"studies": HttpUrl("http://127.0.0.1:9/dicom-web")})
        seen = []
        for settings in (away, away, away, answering, answering, answering):
            object.__setattr__(context, "settings", settings)
            refusing.export()
            (row,) = refusing.exports()
            seen.append((row.status, row.attempts))
            refusing.clock.now += 3600
        assert seen == [
            *(("waiting", attempt) for attempt in range(1, 6)),
            ("failed", 6),
        ]

    def test_what_a_broken_off_attempt_has_stored_is_stored(
        self, site: ExportSite, server: OrthancServer
    ) -> None:
        """Some servers refuse an instance that they have."""
        site.submit(calcified())
        site.export()
        [row] = site.exports()
        with site.context.database.writing() as session:
            again = session.get_one(ExportRow, row.label_id)
            again.status, again.next_at = "waiting", 0.0

        def refusing(query: Query) -> Answer:
            if "SOPInstanceUID" not in query.values:
                return Answer(status=409)
            path = query.path.removeprefix("/dicom-web")
            found = requests.get(server.url + path, query.values, timeout=30.0)
            return Answer(found.content)

        with stub(refusing) as running:
            settings = site.context.settings.model_copy(update={"studies": HttpUrl(running.url)})
            object.__setattr__(site.context, "settings", settings)
            site.export()
        assert site.exports()[0].status == "done"
        assert len(stored(server, site, "SEG")) == 1

    def test_a_person_can_have_it_tried_again(self, refusing: ExportSite) -> None:
        label = refusing.submit(calcified())
        for _ in range(3):
            refusing.export()
            refusing.clock.now += 3600
        with refusing.context.database.writing() as session:
            exports.retry_export(session, label.id, actor="anna", now=refusing.clock())
        (row,) = refusing.exports()
        assert (row.status, row.attempts, row.ended_at) == ("waiting", 0, None)
        refusing.export()
        assert refusing.exports()[0].status == "waiting", "refusals are counted anew"


def test_what_is_stored_is_not_stored_again_on_request(site: ExportSite) -> None:
    label = site.submit(calcified())
    site.export()
    with site.context.database.writing() as session:
        with pytest.raises(ConflictError, match="done"):
            exports.retry_export(session, label.id, actor="anna", now=1.0)
        with pytest.raises(NotFoundError):
            exports.retry_export(session, 999, actor="anna", now=1.0)


def test_only_final_labels_go_and_only_when_wanted(site: ExportSite) -> None:
    site.submit(calcified(), tag="draft")
    assert site.exports() == []
    settings = site.context.settings.model_copy(update={"pacs_export": False})
    object.__setattr__(site.context, "settings", settings)
    site.submit(calcified())
    assert site.exports() == []


def test_the_worker_asks_for_the_job_when_something_is_due(site: ExportSite) -> None:
    def open_job() -> bool:
        export_job.request_export_if_due(site.context)
        with site.context.database.reading() as session:
            return jobs.running(session, "export") is not None

    assert not open_job()
    site.submit(calcified())
    assert open_job()
    assert open_job(), "one job at a time"
    with site.context.database.reading() as session:
        assert len(jobs.history(session, "export")) == 1


def test_pauses_double_up_to_an_hour() -> None:
    assert [exports.pause_s(attempt) for attempt in (1, 2, 3, 6, 7, 500)] == [
        60,
        120,
        240,
        1920,
        3600,
        3600,
    ]
