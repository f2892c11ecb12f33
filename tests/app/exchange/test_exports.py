import csv
import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from app.arrays import load_image, load_label
from app.calcium.labels import ARTERIES, LABELS
from app.calcium.score import calcium_scores
from app.errors import ConflictError, InvalidInputError
from app.exchange import monailabel
from app.exchange.data_folder import DataFolder
from app.exchange.export_monailabel import MonailabelExporter
from app.exchange.export_nifti import NiftiExporter
from app.exchange.export_scores import ScoresExporter
from app.exchange.export_segmentations import SegmentationExporter
from app.exchange.exporting import Exported, Exporter, every_version, export_labels, stored_label
from app.exchange.target import Target
from app.imaging.dicom.segmentation_reader import read_segmentation
from app.imaging.geometry import same_grid
from app.imaging.labelmap import read_label_map
from app.imaging.volume_file import read_volume_file
from app.imaging.volume_writer import write_volume
from app.intake.pool import FINAL_TAG, current_labels
from app.pacs.export_job import derivation_of
from app.store.tables import ImageRow, LabelRow
from tests.app.conftest import Deployment
from tests.app.exchange.labeled_pool import (
    GRID,
    IDENTIFIERS,
    SERIES_UID,
    fill,
    lad,
    submit,
    volume_with_calcium,
)
from tests.app.exchange.pool import axial_label, images_of, labels_of, take_all
from tests.app.pool import add_model_version, add_prediction
from tests.factories import write_dicom


@pytest.fixture
def pool(deployment: Deployment) -> DataFolder:
    return fill(deployment)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def write(data: DataFolder, exporter: Exporter, *, every: bool = False) -> dict[str, Exported]:
    with data.database.reading() as session:
        versions = (every_version if every else current_labels)(session, FINAL_TAG)
    return {done.name: done for done in export_labels(exporter, versions)}


def write_monailabel(data: DataFolder, out: Path, **options: bool) -> dict[str, Exported]:
    target = Target(out, data.settings, is_addition=options.pop("add", False))
    return write(data, MonailabelExporter(data, target, **options))


class TestMonailabel:
    def test_the_layout_is_the_one_that_monai_label_opens(
        self, pool: DataFolder, out: Path
    ) -> None:
        write_monailabel(pool, out)
        files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
        assert files == {
            "nifti.nii.gz",
            "meta.nii.gz",
            f"{SERIES_UID}.nii.gz",
            "labels/final/nifti.nrrd",
            "labels/final/meta.nrrd",
            f"labels/final/{SERIES_UID}.nrrd",
            "datastore_v2.json",
        }
        index = json.loads((out / "datastore_v2.json").read_bytes())
        assert (index["images_dir"], index["labels_dir"]) == (".", "labels")
        for image_id, entry in index["objects"].items():
            assert entry["image"]["info"]["name"] == image_id + entry["image"]["ext"]
            assert (out / entry["image"]["info"]["name"]).is_file()
            label = entry["labels"]["final"]
            assert (out / "labels/final" / f"{image_id}{label['ext']}").is_file()
            assert {"ts", "name", "label_info"} <= label["info"].keys()
        assert index["objects"]["nifti"]["labels"]["final"]["info"]["client_id"] == "anna"

    def test_no_patient_is_named_unless_asked_for(self, pool: DataFolder, tmp_path: Path) -> None:
        write_monailabel(pool, tmp_path / "a")
        write_monailabel(pool, tmp_path / "b", with_patient_ids=True)
        assert b"secret-4" not in (tmp_path / "a/datastore_v2.json").read_bytes()
        assert b"secret-4" in (tmp_path / "b/datastore_v2.json").read_bytes()

    @pytest.mark.parametrize("with_patient_ids", [False, True])
    def test_imported_elsewhere_it_is_the_same_pool(
        self, pool: DataFolder, out: Path, elsewhere: DataFolder, with_patient_ids: bool
    ) -> None:
        write_monailabel(pool, out, with_patient_ids=with_patient_ids)
        outcomes = take_all(elsewhere, monailabel.find_cases(out))
        assert {it.what for it in outcomes} == {"image + label"}
        before, after = images_of(pool), images_of(elsewhere)
        assert set(after) == set(before) - {"unlabeled"}
        for image_id, row in after.items():
            assert (row.kvp, row.series_uid) == (before[image_id].kvp, before[image_id].series_uid)
            assert same_grid(GRID, load_image(elsewhere.settings, elsewhere.files, row).grid)
        with pool.database.reading() as session:
            newest = {label.image_id: label for label, _ in current_labels(session)}
        for label in labels_of(elsewhere):
            old = newest[label.image_id]
            np.testing.assert_array_equal(axial_label(elsewhere, label), axial_label(pool, old))
            assert label.annotator == old.annotator
            assert (label.covers_calcium, label.covers_regions) == (
                old.covers_calcium,
                old.covers_regions,
            )

    def test_patients_stay_together(
        self, pool: DataFolder, out: Path, elsewhere: DataFolder
    ) -> None:
        with pool.database.writing() as session:
            session.get_one(ImageRow, "nifti").patient_key = "same"
            session.get_one(ImageRow, "meta").patient_key = "same"
        write_monailabel(pool, out)
        take_all(elsewhere, monailabel.find_cases(out))
        keys = {image_id: row.patient_key for image_id, row in images_of(elsewhere).items()}
        assert keys["nifti"] == keys["meta"] != keys[SERIES_UID]

    def test_a_label_without_calcium_does_not_become_one_that_denies_it(
        self, pool: DataFolder, out: Path, elsewhere: DataFolder
    ) -> None:
        regions = ("LM_region", "LAD_region", "LCX_region", "RCA_region")
        mask = np.zeros_like(lad())
        mask[2, :4, 0] = [LABELS[name] for name in regions]
        submit(pool, "nifti", mask, names=regions)
        write_monailabel(pool, out)
        take_all(elsewhere, monailabel.find_cases(out))
        (label,) = [label for label in labels_of(elsewhere) if label.image_id == "nifti"]
        assert (label.covers_calcium, label.covers_regions) == (False, True)

    def test_adding_keeps_what_is_there(self, pool: DataFolder, out: Path) -> None:
        write_monailabel(pool, out)
        submit(pool, "nifti", lad())
        submit(pool, "unlabeled", lad())
        before = (out / "labels/final/nifti.nrrd").read_bytes()
        done = write_monailabel(pool, out, add=True)
        assert done["unlabeled"].what == "written"
        assert done["meta"].what == "unchanged"
        assert done["nifti"].problem == "labels/final/nifti.nrrd exists with other content"
        assert (out / "labels/final/nifti.nrrd").read_bytes() == before
        index = json.loads((out / "datastore_v2.json").read_bytes())
        assert set(index["objects"]) == {"nifti", "meta", SERIES_UID, "unlabeled"}
        assert index["objects"]["nifti"]["labels"]["final"]["info"]["version"] == 2


class TestMonailabelImport:
    @pytest.fixture
    def folder(self, pool: DataFolder, out: Path) -> Path:
        write_monailabel(pool, out)
        return out

    def test_a_second_import_adds_nothing(self, folder: Path, elsewhere: DataFolder) -> None:
        take_all(elsewhere, monailabel.find_cases(folder))
        again = take_all(elsewhere, monailabel.find_cases(folder))
        assert {it.what for it in again} == {"nothing new"}
        assert len(labels_of(elsewhere)) == 3

    def test_another_image_of_the_same_name_gets_an_id_of_its_own(
        self, folder: Path, elsewhere: DataFolder
    ) -> None:
        take_all(elsewhere, monailabel.find_cases(folder))
        other = volume_with_calcium(77)
        (folder / "nifti.nii.gz").unlink()
        write_volume(folder / "nifti.nii.gz", other)
        outcomes = {it.name: it for it in take_all(elsewhere, monailabel.find_cases(folder))}
        taken = outcomes["nifti"].taken
        assert taken is not None
        assert taken.image_id.startswith("nifti-")
        assert (taken.is_new_image, taken.new_labels) == (True, 1)

    def test_bad_files_are_reported_and_the_rest_goes_in(
        self, folder: Path, elsewhere: DataFolder
    ) -> None:
        (folder / "meta.nii.gz").write_bytes(b"damaged")
        (folder / "labels/final/nifti.nrrd").write_bytes(b"damaged")
        (folder / "labels/final/gone.nrrd").write_bytes(b"damaged")
        outcomes = {it.name: it for it in take_all(elsewhere, monailabel.find_cases(folder))}
        assert outcomes[SERIES_UID].what == "image + label"
        assert outcomes["meta"].what == "refused"
        assert outcomes["nifti"].what == "image"
        assert outcomes["nifti"].problems[0].startswith("final: ")
        assert outcomes["labels/final/gone.nrrd"].problems == ("the label has no image",)

    def test_a_broken_index_stops_the_import(self, folder: Path) -> None:
        (folder / "datastore_v2.json").write_text("{")
        with pytest.raises(InvalidInputError, match=r"datastore_v2\.json cannot be read"):
            monailabel.find_cases(folder)


class TestNifti:
    def test_other_readers_see_the_same_voxels_at_the_same_place(
        self, pool: DataFolder, out: Path
    ) -> None:
        write(pool, NiftiExporter(pool, Target(out, pool.settings)))
        for image_id, seed in (("nifti", 1), ("meta", 3), (SERIES_UID, 4)):
            volume = volume_with_calcium(seed)
            for part, expected in (("images", volume.hu), ("labels", None)):
                path = out / part / f"{image_id}.nii.gz"
                read = SimpleITK.ReadImage(str(path))
                found = nibabel.load(path)
                assert isinstance(found, nibabel.Nifti1Image)
                voxels = np.asarray(found.dataobj).transpose(2, 1, 0)
                np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(read), voxels)
                to_lps = np.diag([-1, -1, 1, 1]) @ found.affine
                np.testing.assert_allclose(to_lps, GRID.affine, atol=1e-4)
                np.testing.assert_allclose(read.GetOrigin(), GRID.affine[:3, 3], atol=1e-4)
                if expected is not None:
                    np.testing.assert_array_equal(voxels, expected)
        label = nibabel.load(out / f"labels/{SERIES_UID}.nii.gz")
        assert isinstance(label, nibabel.Nifti1Image)
        np.testing.assert_array_equal(np.asarray(label.dataobj).transpose(2, 1, 0), lad())

    def test_who_and_when_lie_beside_the_label(self, pool: DataFolder, out: Path) -> None:
        write(pool, NiftiExporter(pool, Target(out, pool.settings)))
        facts = json.loads((out / "labels/nifti.json").read_bytes())
        # 1 700 000 060 s after 1970 began.
        assert (facts["annotator"], facts["version"]) == ("anna", 2)
        assert facts["submitted"] == "2023-11-14T22:14:20Z"
        assert facts["labels"] == LABELS
        assert read_volume_file(out / f"images/{SERIES_UID}.nii.gz").kvp == 100.0


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


class TestScores:
    def table(self, data: DataFolder, out: Path, **options: bool) -> list[dict[str, str]]:
        write(data, ScoresExporter(data, Target(out, data.settings), **options), every=True)
        with (out / "scores.csv").open(newline="", encoding="utf-8-sig") as file:
            return list(csv.DictReader(file))

    def test_there_is_a_row_for_each_version(self, pool: DataFolder, out: Path) -> None:
        rows = self.table(pool, out)
        assert [(row["image"], row["version"], row["annotator"]) for row in rows] == [
            (SERIES_UID, "1", "anna"),
            ("meta", "1", "'=cmd()"),
            ("nifti", "1", "ben"),
            ("nifti", "2", "anna"),
        ]

    def test_annotation_times_are_those_that_are_known(self, pool: DataFolder, out: Path) -> None:
        (first, *_) = [label for label in labels_of(pool) if label.image_id == "meta"]
        with pool.database.writing() as session:
            session.get_one(LabelRow, first.id).annotation_seconds = 61.04
        seconds = {row["image"]: row["annotation_seconds"] for row in self.table(pool, out)}
        assert (seconds["meta"], seconds["nifti"]) == ("61.0", "")

    def test_scores_are_those_of_the_label(self, pool: DataFolder, out: Path) -> None:
        rows = {(row["image"], row["version"]): row for row in self.table(pool, out)}
        # 4 mm2 at 250 HU weigh 2: Agatston 8, 16 voxels of 0.75 mm3.
        first = rows["nifti", "1"]
        assert (first["total_agatston"], first["LAD_agatston"]) == ("8.0", "8.0")
        assert (first["LAD_volume_mm3"], first["total_lesions"]) == ("12.0", "1")
        assert (first["RCA_agatston"], first["risk_category"]) == ("0.0", "1-10")
        assert rows["nifti", "2"]["RCA_agatston"] == "8.0"
        assert rows["meta", "1"]["total_agatston"] == "0.0"
        # At 100 kV the threshold is another one.
        assert [row["threshold_hu"] for row in rows.values()] == ["147", "130", "130", "130"]
        assert "tube voltage unknown" in rows["meta", "1"]["remark"]

    def test_every_number_is_the_one_of_the_scoring(self, pool: DataFolder, out: Path) -> None:
        rows = {(row["image"], row["version"]): row for row in self.table(pool, out)}
        for label in labels_of(pool):
            image = load_image(pool.settings, pool.files, images_of(pool)[label.image_id])
            scores = calcium_scores(
                image.hu,
                load_label(pool.files, image, label.sha256),
                spacing_mm=image.spacing_mm,
                kvp=image.kvp,
            )
            row = rows[label.image_id, str(label.version)]
            for name, part in {"total": scores.total, **scores.arteries}.items():
                for value, number in part.to_json().items():
                    assert float(row[f"{name}_{value}"]) == number

    def test_a_label_that_speaks_of_no_calcium_has_no_score(
        self, pool: DataFolder, out: Path
    ) -> None:
        mask = np.zeros_like(lad())
        mask[2, :4, 0] = [5, 6, 7, 8]
        submit(pool, "meta", mask, names=tuple(f"{name}_region" for name in ARTERIES))
        row = next(row for row in self.table(pool, out) if row["version"] == "2")
        assert (row["image"], row["total_agatston"], row["LAD_agatston"]) == ("meta", "", "")
        assert row["remark"] == "the label does not speak of calcium"

    def test_no_patient_is_named_unless_asked_for(self, pool: DataFolder, tmp_path: Path) -> None:
        rows = self.table(pool, tmp_path / "a")
        assert "patient_id" not in rows[0]
        assert "secret-4" not in (tmp_path / "a/scores.csv").read_text()
        rows = self.table(pool, tmp_path / "b", with_patient_ids=True)
        assert rows[0]["patient_id"] == "secret-4"

    def test_the_model_stands_beside_when_it_scored_by_the_same_rule(
        self, pool: DataFolder, out: Path
    ) -> None:
        with pool.database.writing() as session:
            version = add_model_version(session)
            for image_id, rule in (("nifti", "agatston"), ("meta", "siemens")):
                prediction = add_prediction(session, image_id, version.id, uncertainty=0.1)
                prediction.scores = {"rule": rule, "total": {"agatston": 12.5}}
        by_image = {row["image"]: row["model_agatston"] for row in self.table(pool, out)}
        assert by_image == {"nifti": "12.5", "meta": "", SERIES_UID: ""}

    def test_reference_scores_are_listed_without_a_label(self, pool: DataFolder, out: Path) -> None:
        with pool.database.writing() as session:
            image = session.get_one(ImageRow, "unlabeled")
            image.info = {**image.info, "reference_scores": {"agatston": {"total": 30.44}}}
        row = self.table(pool, out)[-1]
        assert (row["image"], row["version"]) == ("unlabeled", "")
        assert (row["reference_agatston"], row["total_agatston"]) == ("30.44", "")

    def test_an_image_whose_file_is_gone_is_reported(self, pool: DataFolder, out: Path) -> None:
        studies = pool.settings.studies_folder
        assert studies is not None
        (studies / "meta.mha").unlink()
        done = write(pool, ScoresExporter(pool, Target(out, pool.settings)), every=True)
        assert done["meta"].problem == "the file of image meta is gone from the studies folder"
        assert done["nifti"].problem is None


class TestTarget:
    def test_a_folder_with_files_is_refused(self, pool: DataFolder, out: Path) -> None:
        Target(out, pool.settings).add_bytes("a", b"1")
        with pytest.raises(ConflictError, match=r"not empty.*--add"):
            Target(out, pool.settings)

    def test_nothing_is_overwritten(self, pool: DataFolder, out: Path) -> None:
        target = Target(out, pool.settings)
        assert [target.add_bytes("a", b"1") for _ in range(2)] == ["written", "unchanged"]
        with pytest.raises(ConflictError, match="a exists with other content"):
            target.add_bytes("a", b"2")
        assert [path.name for path in out.iterdir()] == ["a"]
        assert (out / "a").read_bytes() == b"1"

    @pytest.mark.parametrize("place", ["data", "studies"])
    def test_the_folders_of_the_server_are_no_target(
        self, deployment: Deployment, place: str
    ) -> None:
        own = {"data": deployment.settings.data, "studies": deployment.studies}[place]
        with pytest.raises(InvalidInputError, match="outside"):
            Target(own / "export", deployment.settings)
        assert not (own / "export").exists()


def test_labels_are_read_in_the_order_of_the_image_file(pool: DataFolder) -> None:
    row = images_of(pool)["nifti"]
    label = next(label for label in labels_of(pool) if label.image_id == "nifti")
    np.testing.assert_array_equal(stored_label(pool, row, label), lad())
    assert read_label_map(pool.files.path(label.sha256, ".nrrd")).array.shape == GRID.shape
