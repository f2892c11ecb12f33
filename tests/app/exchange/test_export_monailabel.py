"""Exports as a folder that MONAI Label opens, and their way into another deployment."""

import json
from pathlib import Path

import numpy as np
import pytest

from app.arrays import load_image
from app.calcium.labels import LABELS
from app.errors import InvalidInputError
from app.exchange import monailabel
from app.exchange.data_folder import DataFolder
from app.exchange.export_monailabel import MonailabelExporter
from app.exchange.exporting import Exported
from app.exchange.target import Target
from app.imaging.geometry import same_grid
from app.imaging.volume_writer import write_volume
from app.intake.pool import current_labels
from app.store.tables import ImageRow
from tests.app.exchange.labeled_pool import (
    GRID,
    SERIES_UID,
    lad,
    submit,
    volume_with_calcium,
)
from tests.app.exchange.pool import axial_label, images_of, labels_of, take_all
from tests.app.exchange.writing import write


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
