import argparse
import csv
from pathlib import Path

import numpy as np
import pytest

from app.calcium.phantom import Phantom, phantom_patient
from app.imaging.labelmap import read_label_map
from app.imaging.orientation import to_axial
from app.imaging.reader import read_volume
from server.cli import main
from server.commands.phantom import parse_size

SIZE = (64, 64, 12)


@pytest.fixture(scope="module")
def phantoms() -> list[Phantom]:
    return [phantom_patient(5, index, SIZE) for index in range(2)]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pool") / "out"
    assert main(["phantom", str(out), "-n", "2", "--seed", "5", "--size", "64x64x12"]) == 0
    return out


def test_images_and_labels_lie_apart(pool: Path) -> None:
    names = ["phantom-5-0000", "phantom-5-0001"]
    assert sorted(path.name for path in (pool / "images").iterdir()) == [
        f"{name}.nii.gz" for name in names
    ]
    assert sorted(path.name for path in (pool / "oracle").iterdir()) == [
        f"{name}.nrrd" for name in names
    ]


def test_files_hold_the_phantom_of_seed_and_index(pool: Path, phantoms: list[Phantom]) -> None:
    phantom = phantoms[1]
    volume = read_volume(pool / "images" / "phantom-5-0001.nii.gz")
    label = read_label_map(pool / "oracle" / "phantom-5-0001.nrrd")
    np.testing.assert_array_equal(to_axial(volume.hu, volume.grid)[0], phantom.volume.hu)
    np.testing.assert_array_equal(to_axial(label.array, label.grid)[0], phantom.labels)
    assert volume.kvp == phantom.volume.kvp


def test_table_has_a_row_for_each_phantom(pool: Path, phantoms: list[Phantom]) -> None:
    with (pool / "phantoms.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    facts = phantoms[0].facts
    assert [row["id"] for row in rows] == ["phantom-5-0000", "phantom-5-0001"]
    assert rows[0]["noise_sd_hu"] == f"{facts.noise_sd_hu:.3f}"
    assert rows[0]["score_class"] == facts.score_class


def test_scores_of_the_table_are_those_of_the_score_command(
    pool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = pool / "images" / "phantom-5-0001.nii.gz"
    assert main(["score", str(image), str(pool / "oracle" / "phantom-5-0001.nrrd")]) == 0
    with (pool / "phantoms.csv").open(newline="", encoding="utf-8") as stream:
        total = float(list(csv.DictReader(stream))[1]["agatston"])
    line = next(row for row in capsys.readouterr().out.splitlines() if row.startswith("total"))
    assert float(line.split()[1]) == pytest.approx(total, abs=0.051)


def test_dicom_series_hold_the_same_voxels(
    tmp_path: Path, phantoms: list[Phantom], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["phantom", str(tmp_path / "out"), "--seed", "5", "--size", "64x64x12", "--dicom"]
    assert main(arguments) == 0
    volume = read_volume(tmp_path / "out" / "images" / "phantom-5-0000")
    phantom = phantoms[0]
    np.testing.assert_array_equal(to_axial(volume.hu, volume.grid)[0], phantom.volume.hu)
    assert volume.identifiers.patient_id == "phantom-5-0000"
    # Progress is not part of what a pipe reads.
    assert "1/1 phantom-5-0000" in capsys.readouterr().err


def test_a_second_pool_in_one_folder_is_refused(
    pool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["phantom", str(pool), "--size", "64x64x12"]) == 2
    assert "holds phantoms already" in capsys.readouterr().err


@pytest.mark.parametrize("size", ["512x512", "0x0x0x0", "ax2x3", "-1x5x5", ""])
def test_a_size_that_is_none_is_refused(size: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="expected a size like"):
        parse_size(size)


@pytest.mark.parametrize(
    "arguments", [["--size", "32x32x12"], ["--size", "2048x2048x40"], ["-n", "0"]]
)
def test_what_no_phantom_can_be_made_of_is_refused(
    tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["phantom", str(tmp_path / "out"), *arguments]) == 2
    assert "expected" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
