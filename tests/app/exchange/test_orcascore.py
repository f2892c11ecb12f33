from pathlib import Path

import numpy as np
import pytest

from app import images
from app.errors import InvalidInputError
from app.exchange import orcascore
from app.exchange.data_folder import DataFolder
from tests.app.exchange.pool import axial_label, images_of, labels_of, take_all
from tests.factories import make_grid, make_volume, write_itk

GRID = make_grid((4, 8, 9))


def write_patient(folder: Path, patient: str, codes: np.ndarray, *, seed: int = 0) -> None:
    for part in ("Images", "Reference standard"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    write_itk(folder / f"Images/{patient}CTI.mhd", make_volume(GRID, seed=seed).hu, GRID)
    write_itk(folder / f"Images/{patient}CTAI.mhd", make_volume(GRID, seed=seed + 50).hu, GRID)
    write_itk(folder / f"Reference standard/{patient}R.mhd", codes.astype(np.int16), GRID)


def codes(highest: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, highest + 1, GRID.shape)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_patient(tmp_path, "TRV1P3", codes(3))
    return tmp_path


def test_codes_become_the_arteries_they_stand_for(data: DataFolder, folder: Path) -> None:
    assert (folder / "Images/TRV1P3CTI.raw").exists()
    (outcome,) = take_all(data, orcascore.find_cases(folder, kvp=120.0))
    assert (outcome.name, outcome.what, outcome.problems) == ("TRV1P3", "image + label", ())
    (label,) = labels_of(data)
    # orCaScore: 1 LAD, 2 LCX, 3 RCA; here LM 1, LAD 2, LCX 3, RCA 4.
    expected = np.where(codes(3) > 0, codes(3) + 1, 0)
    np.testing.assert_array_equal(axial_label(data, label), expected)
    assert (label.annotator, label.covers_calcium, label.covers_regions) == (
        "orcascore",
        True,
        False,
    )


def test_the_scan_comes_in_unchanged_and_the_angiography_does_not(
    data: DataFolder, folder: Path
) -> None:
    take_all(data, orcascore.find_cases(folder, kvp=100.0))
    ((image_id, row),) = images_of(data).items()
    assert (image_id, row.patient_id, row.kvp) == ("TRV1P3CTI", "TRV1P3", 100.0)
    volume = images.open_volume(data.settings, data.files, row)
    np.testing.assert_array_equal(volume.hu, make_volume(GRID).hu)
    # The file that clients get says the voltage, too.
    assert volume.kvp == 100.0


def test_a_second_import_adds_nothing(data: DataFolder, folder: Path) -> None:
    assert [take_all(data, orcascore.find_cases(folder))[0].what for _ in range(2)] == [
        "image + label",
        "nothing new",
    ]


def test_a_test_patient_comes_in_unlabeled(data: DataFolder, folder: Path) -> None:
    (folder / "Reference standard/TRV1P3R.mhd").unlink()
    assert [it.what for it in take_all(data, orcascore.find_cases(folder))] == ["image"]


def test_what_a_label_cannot_say_is_refused_and_the_rest_goes_in(
    data: DataFolder, folder: Path
) -> None:
    undetermined = codes(3)
    undetermined[undetermined > 0] = 0
    undetermined[1, 2, 3:6] = 4
    write_patient(folder, "TRV1P4", undetermined, seed=1)
    write_patient(folder, "TRV1P5", codes(5), seed=2)
    write_patient(folder, "TRV1P6", codes(3), seed=3)
    (folder / "Images/TRV1P6CTI.mhd").unlink()
    found = {it.name: it.problems for it in take_all(data, orcascore.find_cases(folder))}
    assert found["TRV1P3"] == ()
    assert found["TRV1P4"][0].startswith("3 voxels of calcium belong to no artery")
    assert "belong to no artery" in found["TRV1P5"][0]
    assert found["TRV1P6"] == ("the label has no scan",)
    assert list(images_of(data)) == ["TRV1P3CTI"]


def test_a_label_on_another_grid_is_refused(data: DataFolder, folder: Path) -> None:
    elsewhere = make_grid(GRID.shape, spacing_mm=(3.0, 0.6, 0.75))
    write_itk(folder / "Reference standard/TRV1P3R.mhd", codes(3).astype(np.int16), elsewhere)
    (outcome,) = take_all(data, orcascore.find_cases(folder))
    assert "expected voxels of" in outcome.problems[0]


def test_an_impossible_voltage_is_refused(folder: Path) -> None:
    with pytest.raises(InvalidInputError, match="tube voltage"):
        orcascore.find_cases(folder, kvp=12.0)


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"TRV1P1CTI\.mhd"):
        orcascore.find_cases(tmp_path)
