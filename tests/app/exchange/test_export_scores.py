"""Exports as a table of scores."""

import csv
from pathlib import Path

import numpy as np

from app.arrays import load_image, load_label
from app.calcium.labels import ARTERIES
from app.calcium.score import calcium_scores
from app.exchange.data_folder import DataFolder
from app.exchange.export_scores import ScoresExporter
from app.exchange.target import Target
from app.store.tables import ImageRow, LabelRow
from tests.app.exchange.labeled_pool import (
    SERIES_UID,
    lad,
    submit,
)
from tests.app.exchange.pool import images_of, labels_of
from tests.app.exchange.writing import write
from tests.app.pool import add_model_version, add_prediction


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
