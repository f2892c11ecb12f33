"""What of a label a real DICOMweb server holds, and what comes back from there."""

from io import BytesIO

import numpy as np
import pydicom
import pytest

from app import labels
from app.calcium.score import calcium_scores
from app.imaging.dicom.dicomweb import dicomweb_server
from app.imaging.dicom.report import read_report
from app.imaging.dicom.segmentation_reader import read_segmentation
from app.imaging.labelmap import read_label_map
from app.pacs.segmentations import take_segmentation, unknown_segmentations
from tests.app.imaging.segmentations import canonical, foreign_segmentation
from tests.app.pacs.export.stored import calcified, stored
from tests.app.pacs.export_site import ExportSite
from tests.app.pool import add_model_version, add_prediction
from tests.factories import SHAPE
from tests.orthanc import OrthancServer


def test_a_label_comes_to_the_server_as_it_was_drawn(
    remote: OrthancServer, site: ExportSite
) -> None:
    site.submit(calcified())
    site.export()
    (segmentation,), (report,) = (stored(remote, site, kind) for kind in ("SEG", "SR"))
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


def test_no_calcium_is_a_report_of_zeros_and_a_segmentation_of_nothing(
    remote: OrthancServer, site: ExportSite
) -> None:
    site.submit(np.zeros(SHAPE, np.uint8))
    site.export()
    (report,), (segmentation,) = stored(remote, site, "SR"), stored(remote, site, "SEG")
    assert read_report(report).total.agatston == 0
    (row,) = site.exports()
    assert (row.status, row.seg_uid) == ("done", read_segmentation(segmentation).sop_uid)
    names = [segment.name for segment in read_segmentation(segmentation).segments]
    assert names == ["LM", "LAD", "LCX", "RCA"]
    assert not canonical(segmentation, site.volume.grid).any()


def test_regions_alone_have_no_scores_to_report(remote: OrthancServer, site: ExportSite) -> None:
    label = np.zeros(SHAPE, np.uint8)
    label[1:3], label[3:] = 6, 8
    site.submit(label, names={"LAD_region": 6, "RCA_region": 8})
    site.export()
    (row,) = site.exports()
    assert (row.status, row.sr_uid) == ("done", "")
    (segmentation,) = stored(remote, site, "SEG")
    np.testing.assert_array_equal(canonical(segmentation, site.volume.grid), label)
    assert stored(remote, site, "SR") == []


def test_regions_without_calcium_say_that_there_is_none(
    remote: OrthancServer, site: ExportSite
) -> None:
    label = np.zeros(SHAPE, np.uint8)
    label[1:3], label[3:] = 6, 8
    site.submit(label)
    site.export()
    (segmentation,), (report,) = (stored(remote, site, kind) for kind in ("SEG", "SR"))
    names = [item.SegmentLabel for item in pydicom.dcmread(BytesIO(segmentation)).SegmentSequence]
    assert names == ["LM", "LAD", "LCX", "RCA", "LAD_region", "RCA_region"]
    np.testing.assert_array_equal(canonical(segmentation, site.volume.grid), label)
    assert read_report(report).total.agatston == 0


def test_a_corrected_prediction_names_the_network(remote: OrthancServer, site: ExportSite) -> None:
    with site.context.database.writing() as session:
        version = add_model_version(session)
        add_prediction(session, site.image.id, version.id, uncertainty=0.5, key="any")
    site.submit(calcified())
    site.export()
    (content,) = stored(remote, site, "SEG")
    segment = pydicom.dcmread(BytesIO(content)).SegmentSequence[0]
    assert segment.SegmentAlgorithmType == "SEMIAUTOMATIC"
    assert segment.SegmentAlgorithmName == "calcium network"


@pytest.mark.parametrize("is_passed_on", [True, False])
def test_what_a_viewer_stored_is_one_segmentation_and_a_report_of_it(
    remote: OrthancServer, site: ExportSite, is_passed_on: bool
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
    (segmentation,), (report,) = (stored(remote, site, kind) for kind in ("SEG", "SR"))
    assert pydicom.dcmread(BytesIO(segmentation)).SOPInstanceUID == taken.sop_uid
    read = read_report(report)
    assert read.segments == {"RCA": (taken.sop_uid, 1), "LAD": (taken.sop_uid, 2)}
    (row,) = site.exports()
    assert (row.status, row.seg_uid, row.sr_uid) == ("done", taken.sop_uid, read.sop_uid)


def test_our_own_segmentation_does_not_come_back(remote: OrthancServer, site: ExportSite) -> None:
    label = site.submit(calcified())
    site.export()
    (content,) = stored(remote, site, "SEG")
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


def test_what_came_from_the_server_is_not_stored_there_again(
    remote: OrthancServer, site: ExportSite
) -> None:
    made = foreign_segmentation(site.files, (calcified() == 2).astype(np.uint8), ["LAD calcium"])
    context = site.context
    taken = take_segmentation(
        context.database, context.files, context.settings, made, origin="pacs", now=site.clock()
    )
    assert taken.is_new
    site.export()
    assert site.exports() == []
    assert stored(remote, site, "SEG") == []


def test_a_segmentation_of_somebody_else_becomes_a_label_once(
    remote: OrthancServer, site: ExportSite
) -> None:
    made = foreign_segmentation(site.files, (calcified() == 2).astype(np.uint8), ["LAD calcium"])
    remote.upload([made])
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
