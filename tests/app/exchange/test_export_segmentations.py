"""Exports as DICOM segmentations."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from app.calcium.labels import ARTERIES
from app.exchange.data_folder import DataFolder
from app.exchange.export_segmentations import SegmentationExporter
from app.exchange.target import Target
from app.imaging.dicom.segmentation_reader import read_segmentation
from app.pacs.export_job import derivation_of
from tests.app.exchange.labeled_pool import (
    GRID,
    IDENTIFIERS,
    SERIES_UID,
    lad,
    submit,
    volume_with_calcium,
)
from tests.app.exchange.pool import labels_of
from tests.app.exchange.writing import write
from tests.factories import write_dicom


class TestSegmentations:
    def test_read_back_they_are_the_labels(self, pool: DataFolder, out: Path) -> None:
        done = write(pool, SegmentationExporter(pool, Target(out, pool.settings)))
        assert {name: exported.what for name, exported in done.items()} == {
            "nifti": "left out, no DICOM series",
            "meta": "left out, no DICOM series",
            SERIES_UID: "written",
        }
        found = read_segmentation((out / f"{SERIES_UID}.v1.dcm").read_bytes())
        assert found.series_uids == (SERIES_UID,)
        mask = found.on_grid(GRID)
        (segment,) = mask.segments
        assert segment.name == "LAD"
        np.testing.assert_array_equal(mask.array == segment.value, lad() > 0)

    def test_no_calcium_is_written_as_arteries_without_voxels(
        self, pool: DataFolder, out: Path
    ) -> None:
        submit(pool, SERIES_UID, np.zeros_like(lad()))
        done = write(pool, SegmentationExporter(pool, Target(out, pool.settings)))
        assert done[SERIES_UID].what == "written"
        found = read_segmentation((out / f"{SERIES_UID}.v2.dcm").read_bytes())
        mask = found.on_grid(GRID)
        assert {segment.name for segment in mask.segments} == set(ARTERIES)
        assert not mask.array.any()

    def test_a_label_that_says_nothing_is_left_out(self, pool: DataFolder, out: Path) -> None:
        submit(pool, SERIES_UID, np.zeros_like(lad()), names=("LAD_region",))
        done = write(pool, SegmentationExporter(pool, Target(out, pool.settings)))
        assert done[SERIES_UID].what == "left out, no voxel to show"

    def test_a_series_that_changed_gets_none(self, pool: DataFolder, out: Path) -> None:
        changed = volume_with_calcium(5, kvp=100.0)
        studies = pool.settings.studies_folder
        assert studies is not None
        write_dicom(studies / "series", replace(changed, identifiers=IDENTIFIERS))
        done = write(pool, SegmentationExporter(pool, Target(out, pool.settings)))
        assert "changed since it was registered" in str(done[SERIES_UID].problem)
        assert list(out.iterdir()) == []

    def test_it_is_the_instance_that_goes_to_a_pacs(self, pool: DataFolder, out: Path) -> None:
        write(pool, SegmentationExporter(pool, Target(out, pool.settings)))
        found = read_segmentation((out / f"{SERIES_UID}.v1.dcm").read_bytes())
        (label,) = [label for label in labels_of(pool) if label.image_id == SERIES_UID]
        with pool.database.reading() as session:
            assert found.sop_uid == derivation_of(session, label).segmentation_uid

    def test_written_twice_they_are_the_same_file(self, pool: DataFolder, out: Path) -> None:
        write(pool, SegmentationExporter(pool, Target(out, pool.settings)))
        target = Target(out, pool.settings, is_addition=True)
        assert write(pool, SegmentationExporter(pool, target))[SERIES_UID].what == "unchanged"
