from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select

from app import images, labels
from app.calcium.labels import CALCIUM_LABELS
from app.errors import InvalidInputError
from app.exchange import coca
from app.exchange.data_folder import DataFolder
from app.imaging.volume import Volume
from app.settings import Settings
from app.store.tables import JobRow
from tests.app.exchange.coca_files import (
    Drawn,
    box,
    make_scan,
    write_gated,
    write_scan,
    write_scores,
)
from tests.app.exchange.pool import axial_label, images_of, labels_of, take_all
from tests.app.pool import add_model_version

LESION = (slice(1, 2), slice(4, 7), slice(10, 15))
CONTOUR = Drawn("LM", 1, box(10, 4, 5, 3))


def scan_with_lesion(number: str = "7", seed: int = 0) -> Volume:
    hu = make_scan(seed=seed).hu.copy()
    hu[LESION] = 300
    return make_scan(hu, number=number)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_gated(tmp_path / "coca", "7", scan_with_lesion(), [CONTOUR])
    return tmp_path / "coca"


def test_a_scan_comes_in_with_its_contours_as_final_label(data: DataFolder, folder: Path) -> None:
    (outcome,) = take_all(data, coca.find_cases(folder))
    assert (outcome.name, outcome.what, outcome.problems) == ("gated 7", "image + label", ())
    ((image_id, row),) = images_of(data).items()
    assert image_id == row.series_uid == scan_with_lesion().identifiers.series_uid
    assert (row.source, row.kvp, row.modality) == ("upload", 120.0, "CT")
    (label,) = labels_of(data)
    assert (label.tag, label.version, label.annotator) == ("final", 1, "coca")
    assert (label.covers_calcium, label.covers_regions) == (True, False)
    expected = np.zeros(make_scan().hu.shape, np.uint8)
    expected[LESION] = CALCIUM_LABELS["LM"]
    np.testing.assert_array_equal(axial_label(data, label), expected)


def test_no_voxel_changes_and_none_moves(data: DataFolder, folder: Path) -> None:
    take_all(data, coca.find_cases(folder))
    (row,) = images_of(data).values()
    volume = images.open_volume(data.settings, data.files, row)
    np.testing.assert_array_equal(volume.hu, scan_with_lesion().hu)
    np.testing.assert_allclose(volume.grid.affine, scan_with_lesion().grid.affine, atol=1e-4)


def test_a_label_is_scored_on_its_image(data: DataFolder, folder: Path) -> None:
    take_all(data, coca.find_cases(folder))
    (label,) = labels_of(data)
    assert label.scores is not None
    calcium = label.scores["arteries"]
    drawn = [name for name, scores in calcium.items() if scores["agatston"] > 0]
    assert drawn == ["LM"]
    assert label.scores["total"]["agatston"] == calcium["LM"]["agatston"]


def test_a_second_import_adds_nothing(data: DataFolder, folder: Path) -> None:
    take_all(data, coca.find_cases(folder))
    (outcome,) = take_all(data, coca.find_cases(folder))
    assert (outcome.what, len(images_of(data)), len(labels_of(data))) == ("nothing new", 1, 1)


def test_a_position_that_nifti_rounds_is_still_the_same_image(
    data: DataFolder, tmp_path: Path
) -> None:
    volume = scan_with_lesion()
    affine = volume.grid.affine.copy()
    # In single precision this is 0.0005000000237, which rounds up where 0.0005 rounds to even.
    affine[0, 3] = 0.0005
    odd = replace(volume, grid=replace(volume.grid, affine=affine))
    write_scan(tmp_path / "coca/Gated_release_final/patient/7/s", odd)
    (tmp_path / "coca/Gated_release_final/calcium_xml").mkdir()
    outcomes = [take_all(data, coca.find_cases(tmp_path / "coca"))[0].what for _ in range(2)]
    assert (outcomes, len(images_of(data))) == (["image", "nothing new"], 1)


def test_a_label_made_here_is_never_covered(data: DataFolder, folder: Path) -> None:
    take_all(data, coca.find_cases(folder))
    (image_id,) = images_of(data)
    with data.database.writing() as session:
        labels.delete_label(session, image_id, "final", actor="me", now=1.0)
    (outcome,) = take_all(data, coca.find_cases(folder))
    assert (outcome.what, len(labels_of(data))) == ("nothing new", 1)


def test_the_folder_is_the_patient(data: DataFolder, folder: Path) -> None:
    # Every header says the same PatientID; one group would mean no validation at all.
    write_gated(folder, "12", scan_with_lesion("12", seed=12), [CONTOUR])
    take_all(data, coca.find_cases(folder))
    rows = images_of(data).values()
    assert {row.patient_id for row in rows} == {"anonymous"}
    assert len({row.patient_key for row in rows}) == 2


def test_a_scan_without_contours_comes_in_unlabeled(data: DataFolder, folder: Path) -> None:
    (folder / "Gated_release_final/calcium_xml/7.xml").unlink()
    (outcome,) = take_all(data, coca.find_cases(folder))
    assert (outcome.what, labels_of(data)) == ("image", [])


def test_a_bad_case_keeps_nothing_and_the_rest_goes_in(data: DataFolder, folder: Path) -> None:
    write_gated(folder, "8", make_scan(number="8"), [CONTOUR])
    write_gated(folder, "9", scan_with_lesion("9", seed=9), [Drawn("LM", 1)])
    write_gated(folder, "10", scan_with_lesion("10", seed=10), [CONTOUR])
    (folder / "Gated_release_final/patient/11").mkdir()
    (folder / "Gated_release_final/calcium_xml/13.xml").write_bytes(b"")
    outcomes = {it.name: (it.what, *it.problems) for it in take_all(data, coca.find_cases(folder))}
    assert outcomes == {
        "gated 7": ("image + label",),
        "gated 8": ("refused", "no contour holds a voxel of at least 130 HU"),
        "gated 9": ("refused", "every contour is empty"),
        "gated 10": ("image + label",),
        "gated 11": ("refused", "the folder holds no DICOM series"),
        "gated 13": ("refused", "the contours have no scan"),
    }
    assert len(images_of(data)) == 2


def test_contours_find_their_series_among_several(data: DataFolder, folder: Path) -> None:
    volume = scan_with_lesion()
    affine = volume.grid.affine.copy()
    affine[0, 3] += 5
    elsewhere = replace(
        volume,
        grid=replace(volume.grid, affine=affine),
        identifiers=replace(volume.identifiers, series_uid="1.5"),
    )
    write_scan(folder / "Gated_release_final/patient/7/thin", elsewhere)
    (outcome,) = take_all(data, coca.find_cases(folder))
    assert (outcome.what, list(images_of(data))) == (
        "image + label",
        [volume.identifiers.series_uid],
    )


class TestInTheStudiesFolder:
    @pytest.fixture
    def inside(self, data: DataFolder, folder: Path) -> DataFolder:
        return replace(data, settings=Settings(studies=folder, data=data.settings.data))

    def test_the_image_stays_there_and_gets_its_label(
        self, inside: DataFolder, folder: Path
    ) -> None:
        images.scan_studies(inside.database, inside.settings, now=inside.now)
        (outcome,) = take_all(inside, coca.find_cases(folder))
        assert outcome.what == "label"
        ((_, row),) = images_of(inside).items()
        assert (row.source, row.kind) == ("studies", "dicom")
        assert np.count_nonzero(axial_label(inside, labels_of(inside)[0])) == 15

    def test_the_folder_is_the_patient_there_too(self, inside: DataFolder, folder: Path) -> None:
        write_gated(folder, "12", scan_with_lesion("12", seed=12), [CONTOUR])
        images.scan_studies(inside.database, inside.settings, now=inside.now)
        assert len({row.patient_key for row in images_of(inside).values()}) == 1
        take_all(inside, coca.find_cases(folder))
        assert len({row.patient_key for row in images_of(inside).values()}) == 2

    def test_a_removed_image_is_not_brought_back(self, inside: DataFolder, folder: Path) -> None:
        images.scan_studies(inside.database, inside.settings, now=inside.now)
        (image_id,) = images_of(inside)
        with inside.database.writing() as session:
            images.remove_image(session, image_id, actor="me", now=1.0)
        (outcome,) = take_all(inside, coca.find_cases(folder))
        assert "was removed from the pool" in outcome.problems[0]
        assert labels_of(inside) == []


class TestNonGated:
    @pytest.fixture
    def part(self, tmp_path: Path) -> Path:
        part = tmp_path / "coca/deidentified_nongated"
        for number in ("2", "10", "3"):
            write_scan(part / number / number, make_scan(seed=int(number), number=number))
        write_scores(
            part / "scores.xlsx",
            [("2A", 1.5, 20, 0, 8.94, 30.44), ("10A", 0, 0, 0, None, 0), ("4A", 1, 1, 1, 1, 4)],
        )
        return part

    def test_scores_are_kept_as_reference_with_lca_as_left_main(
        self, data: DataFolder, part: Path
    ) -> None:
        outcomes = take_all(data, coca.find_cases(part.parent))
        assert {it.name: (it.what, *it.problems) for it in outcomes} == {
            "non-gated 2": ("image + reference scores",),
            "non-gated 3": ("image",),
            "non-gated 10": (
                "refused",
                "scores.xlsx has no single complete row of scores for 10A",
            ),
        }
        row = images_of(data)[make_scan(number="2").identifiers.series_uid]
        assert row.info["reference_scores"] == {
            "source": "COCA",
            "agatston": {"LM": 1.5, "LAD": 20.0, "LCX": 0.0, "RCA": 8.94, "total": 30.44},
        }
        assert labels_of(data) == []

    def test_a_second_import_adds_nothing(self, data: DataFolder, part: Path) -> None:
        take_all(data, coca.find_cases(part))
        assert {it.what for it in take_all(data, coca.find_cases(part))} == {
            "nothing new",
            "refused",
        }

    def test_of_two_rows_for_one_scan_none_counts(self, data: DataFolder, part: Path) -> None:
        write_scores(part / "scores.xlsx", [("2A", 1, 1, 1, 1, 4), ("2A", 9, 9, 9, 9, 36)])
        (outcome, *_) = take_all(data, coca.find_cases(part))
        assert outcome.what == "refused"

    @pytest.mark.parametrize("content", [b"", b"PK\x03\x04 damaged"])
    def test_a_damaged_table_stops_the_import(self, part: Path, content: bytes) -> None:
        (part / "scores.xlsx").write_bytes(content)
        with pytest.raises(InvalidInputError, match=r"scores\.xlsx cannot be read"):
            coca.find_cases(part)

    @pytest.mark.parametrize("seed", range(30))
    def test_a_flipped_bit_never_ends_the_program(self, part: Path, seed: int) -> None:
        path = part / "scores.xlsx"
        content = bytearray(path.read_bytes())
        rng = np.random.default_rng(seed)
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        with suppress(InvalidInputError):
            coca.find_cases(part)


def test_new_images_are_scored_afterwards(data: DataFolder, folder: Path) -> None:
    with data.database.writing() as session:
        add_model_version(session)
    take_all(data, coca.find_cases(folder))
    with data.database.reading() as session:
        requests = [job.request for job in session.scalars(select(JobRow)) if job.kind == "score"]
    assert [request["images"] for request in requests] == [list(images_of(data))]


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="Gated_release_final"):
        coca.find_cases(tmp_path)
