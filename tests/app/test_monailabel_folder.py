import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from app import images, labels
from app.calcium.labels import LABELS
from app.imaging.labelmap import read_label_map, write_label_map
from app.imaging.volume_writer import write_volume
from app.store.tables import LabelRow, LeaseRow
from tests.app.conftest import Deployment
from tests.app.submitting import submit_label
from tests.factories import make_labels, make_volume, write_itk, write_nifti


def add_label(deployment: Deployment, path: str, *, seed: int = 0) -> Path:
    target = deployment.studies / "labels" / path
    target.parent.mkdir(parents=True, exist_ok=True)
    write = write_nifti if ".nii" in path else write_itk
    return write(target, make_labels(seed=seed), make_volume().grid)


def write_index(deployment: Deployment, objects: dict[str, Any]) -> None:
    index = {"name": "new-dataset", "images_dir": ".", "labels_dir": "labels", "objects": objects}
    (deployment.studies / "datastore_v2.json").write_text(json.dumps(index, indent=2))


def add_named_label(deployment: Deployment, path: str) -> Path:
    target = deployment.studies / "labels" / path
    target.parent.mkdir(parents=True, exist_ok=True)
    write_label_map(target, make_labels(), make_volume().grid, compress=True, names=LABELS)
    return target


@pytest.fixture(autouse=True)
def studies(deployment: Deployment) -> None:
    for number in (1, 2, 3):
        write_volume(deployment.studies / f"case_{number}.nii.gz", make_volume(seed=number))
    info = {"info": {"label_info": [{"name": name, "idx": LABELS[name]} for name in LABELS]}}
    tags = dict.fromkeys(("final", "original", "version_1", "a b$"), info)
    write_index(deployment, {f"case_{number}": {"labels": tags} for number in (1, 2, 3, 4)})


def scan(deployment: Deployment) -> images.ScanReport:
    return images.scan_studies(deployment.database, deployment.settings, now=lambda: 50.0)


def lease(image_id: str) -> LeaseRow:
    return LeaseRow(
        image_id=image_id, strategy="first", client_id="c", served_at=1.0, expires_at=999.0
    )


def rows(deployment: Deployment) -> dict[tuple[str, str], LabelRow]:
    with deployment.database.reading() as session:
        return {(row.image_id, row.tag): row for row in session.scalars(select(LabelRow))}


def problems(deployment: Deployment) -> dict[str, str]:
    with deployment.database.reading() as session:
        return {row.path: row.problem for row in images.list_quarantine(session)}


class TestImport:
    def test_takes_every_tag_in_any_format(self, deployment: Deployment) -> None:
        add_label(deployment, "final/case_1.nii.gz", seed=1)
        add_label(deployment, "original/case_2.nrrd", seed=2)
        add_label(deployment, "version_1/case_1.nrrd", seed=3)
        assert scan(deployment).labels == 3
        found = rows(deployment)
        assert set(found) == {
            ("case_1", "final"),
            ("case_2", "original"),
            ("case_1", "version_1"),
        }
        stored = labels.label_file(deployment.files, found["case_1", "final"])
        np.testing.assert_array_equal(read_label_map(stored).array, make_labels(seed=1))
        assert problems(deployment) == {}

    def test_keeps_what_the_index_says(self, deployment: Deployment) -> None:
        mask = np.ones(make_volume().hu.shape, np.uint8)
        target = add_label(deployment, "final/case_1.nrrd")
        write_itk(target, mask, make_volume().grid)
        review = {"status": "approved", "approvedBy": "r", "level": "easy", "comment": ""}
        info = {
            "label_info": [{"name": "RCA", "idx": 1}],
            "client_id": "anna",
            "segmentationMeta": review,
            "ts": 1,
            "name": "case_1.nrrd",
        }
        write_index(deployment, {"case_1": {"labels": {"final": {"ext": ".nrrd", "info": info}}}})
        scan(deployment)
        row = rows(deployment)["case_1", "final"]
        assert row.annotator == "anna"
        # The reviewer module reads this key without asking whether it is there.
        assert row.info["segmentationMeta"] == {**review, "editTime": ""}
        # Value 1 is RCA there, which is canonically 4.
        array = read_label_map(labels.label_file(deployment.files, row)).array
        assert np.unique(array).tolist() == [4]

    def test_numbers_predictions_by_their_label_names(self, deployment: Deployment) -> None:
        target = add_label(deployment, "original/case_1.nrrd")
        write_itk(target, np.full(make_volume().hu.shape, 2, np.uint8), make_volume().grid)
        info = {"model": "seg", "params": {"label_names": {"RCA": 1, "LM": 2}}}
        write_index(deployment, {"case_1": {"labels": {"original": {"info": info}}}})
        scan(deployment)
        row = rows(deployment)["case_1", "original"]
        array = read_label_map(labels.label_file(deployment.files, row)).array
        assert np.unique(array).tolist() == [1]

    def test_a_final_one_ends_the_lease_of_its_image(self, deployment: Deployment) -> None:
        scan(deployment)
        with deployment.database.writing() as session:
            for image_id in ("case_1", "case_2"):
                session.add(lease(image_id))
        add_label(deployment, "final/case_1.nii.gz")
        add_label(deployment, "original/case_2.nii.gz")
        scan(deployment)
        with deployment.database.reading() as session:
            open_leases = select(LeaseRow.image_id).where(LeaseRow.released_at.is_(None))
            assert session.scalars(open_leases).all() == ["case_2"]

    def test_has_the_scores_that_a_submission_has(self, deployment: Deployment) -> None:
        path = add_label(deployment, "final/case_1.nii.gz")
        scan(deployment)
        imported = rows(deployment)["case_1", "final"].scores
        submitted = submit_label(deployment, "case_1", path, annotator="ben").scores
        assert imported is not None
        assert imported == submitted
        # Random voxels of -1000 to 1000 HU: about half of the label is calcium.
        assert imported["total"]["agatston"] > 0

    def test_happens_once(self, deployment: Deployment) -> None:
        add_label(deployment, "final/case_1.nii.gz")
        assert [scan(deployment).labels for _ in range(2)] == [1, 0]
        assert len(rows(deployment)) == 1

    def test_never_covers_a_submission(self, deployment: Deployment) -> None:
        scan(deployment)
        path = add_label(deployment, "final/case_1.nrrd", seed=7)
        submit_label(deployment, "case_1", path, params={}, now=1.0)
        add_label(deployment, "final/case_1.nrrd", seed=8)
        assert scan(deployment).labels == 0
        assert rows(deployment)["case_1", "final"].annotator == "anna"

    def test_does_not_bring_a_deleted_label_back(self, deployment: Deployment) -> None:
        add_label(deployment, "final/case_1.nii.gz")
        scan(deployment)
        with deployment.database.writing() as session:
            labels.delete_label(session, "case_1", "final", actor="me", now=60.0)
        assert scan(deployment).labels == 0

    def test_takes_labels_that_come_with_their_image_later(self, deployment: Deployment) -> None:
        add_label(deployment, "final/case_4.nii.gz")
        scan(deployment)
        assert problems(deployment) == {"labels/final/case_4.nii.gz": "the label has no image"}
        write_volume(deployment.studies / "case_4.nii.gz", make_volume(seed=4))
        assert scan(deployment).labels == 1
        assert problems(deployment) == {}


class TestTolerance:
    @pytest.mark.parametrize(
        "content", [b"", b"{", b"[]", b'{"objects": 3}', b"\xff\xfe", b"[" * 100_000]
    )
    def test_a_broken_index_costs_only_what_it_said(
        self, deployment: Deployment, content: bytes
    ) -> None:
        add_named_label(deployment, "final/case_1.nrrd")
        (deployment.studies / "datastore_v2.json").write_bytes(content)
        assert scan(deployment).labels == 1
        assert list(problems(deployment)) == ["datastore_v2.json"]

    @pytest.mark.parametrize("entry", [None, 3, [], {"labels": 3}, {"labels": {"final": "x"}}])
    def test_an_odd_entry_says_nothing(self, deployment: Deployment, entry: object) -> None:
        add_named_label(deployment, "final/case_1.nrrd")
        write_index(deployment, {"case_1": entry})
        assert scan(deployment).labels == 1

    def test_numbers_that_nobody_names_are_reported(self, deployment: Deployment) -> None:
        add_label(deployment, "final/case_1.nii.gz")
        empty = np.zeros(make_volume().hu.shape, np.uint8)
        write_itk(add_label(deployment, "final/case_2.nrrd"), empty, make_volume().grid)
        write_index(deployment, {})
        assert scan(deployment).labels == 1
        assert set(rows(deployment)) == {("case_2", "final")}
        (problem,) = problems(deployment).values()
        assert problem == "expected label_info or label_names of the label in datastore_v2.json"

    def test_bad_labels_are_reported_and_the_rest_is_taken(self, deployment: Deployment) -> None:
        add_label(deployment, "final/case_1.nii.gz")
        bad = add_label(deployment, "final/case_2.nii.gz")
        bad.write_bytes(bad.read_bytes()[:40])
        add_label(deployment, "a b$/case_3.nii.gz")
        (deployment.studies / "labels/final/._case_3.nii.gz").write_bytes(b"x")
        (deployment.studies / "labels/final/notes.txt").write_text("x")
        report = scan(deployment)
        assert (report.labels, report.quarantined) == (1, 2)
        found = problems(deployment)
        assert set(found) == {"labels/final/case_2.nii.gz", "labels/a b$/case_3.nii.gz"}
        assert "tag" in found["labels/a b$/case_3.nii.gz"]

    def test_label_names_that_are_not_utf8_are_reported(self, deployment: Deployment) -> None:
        add_named_label(deployment, "final/case_1.nrrd")
        odd = add_named_label(deployment, "final/case_2.nrrd")
        odd.rename(odd.with_name(os.fsdecode(b"case_\xff.nrrd")))
        assert scan(deployment).labels == 1
        assert problems(deployment) == {r"labels/final/case_\xff.nrrd": "the label has no image"}

    def test_the_report_heals(self, deployment: Deployment) -> None:
        bad = add_label(deployment, "final/case_2.nii.gz")
        bad.write_bytes(b"")
        scan(deployment)
        assert list(problems(deployment)) == ["labels/final/case_2.nii.gz"]
        add_label(deployment, "final/case_2.nii.gz")
        scan(deployment)
        assert problems(deployment) == {}

    def test_a_folder_without_labels_is_no_problem(self, deployment: Deployment) -> None:
        write_index(deployment, {})
        shutil.rmtree(deployment.studies / "labels", ignore_errors=True)
        assert scan(deployment).labels == 0
        assert problems(deployment) == {}
