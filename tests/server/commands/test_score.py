import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from app.imaging.labelmap import write_label_map
from app.imaging.volume import Grid, Volume
from app.imaging.volume_writer import write_volume
from server.cli import main

SPACING_MM = (3.0, 0.5, 0.5)


def grid_of(shape: tuple[int, int, int], flips: tuple[int, int, int] = (1, 1, 1)) -> Grid:
    """Make a grid of 0.5 mm x 0.5 mm x 3 mm with the axes x, y, z along or against LPS."""
    x, y, z = flips
    return Grid(shape, np.diag([0.5 * x, 0.5 * y, 3.0 * z, 1.0]))


def calcium() -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Make a LAD lesion of 4 mm2 at 250 HU and an RCA lesion of 1 mm2 at 450 HU."""
    hu = np.full((4, 16, 20), 40, np.int16)
    labels = np.zeros(hu.shape, np.uint8)
    hu[1, 4:8, 4:8], labels[1, 3:9, 3:9] = 250, 2
    hu[2, 10:12, 10:12], labels[2, 10:12, 10:12] = 450, 4
    return hu, labels


@pytest.fixture
def image(tmp_path: Path) -> Path:
    hu, _ = calcium()
    path = tmp_path / "image.nii.gz"
    write_volume(path, Volume(hu, grid_of((4, 16, 20))))
    return path


def write_label(path: Path, labels: NDArray[np.uint8], names: dict[str, int] | None = None) -> str:
    write_label_map(path, labels, grid_of((4, 16, 20)), compress=True, names=names)
    return str(path)


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    assert main(["score", *arguments, "--json"]) == 0
    scores: dict[str, object] = json.loads(capsys.readouterr().out)
    return scores


def test_json_holds_the_scores_of_each_artery(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    label = write_label(tmp_path / "label.nrrd", calcium()[1])
    scores = run_json(capsys, str(image), label, "--kvp", "120", "--mass-factor", "0.001")
    # LAD 4 mm2 x 2 and 16 x 0.75 mm3, 0.001 x 12 mm3 x 250 HU; RCA 1 mm2 x 4
    lad = {"agatston": 8.0, "volume_mm3": 12.0, "mass_mg": 3.0, "lesions": 1}
    arteries = scores["arteries"]
    assert isinstance(arteries, dict)
    assert arteries["LAD"] == pytest.approx(lad)
    assert arteries["RCA"]["agatston"] == 4.0
    assert isinstance(scores["total"], dict)
    assert scores["total"]["agatston"] == 12.0
    assert (scores["risk_category"], scores["cac_drs"]) == ("11-100", "A1/N2")
    assert (scores["rule"], scores["warnings"]) == ("agatston", [])


def test_the_table_has_a_row_for_each_artery_and_the_total(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    label = write_label(tmp_path / "label.nrrd", calcium()[1])
    assert main(["score", str(image), label, "--mass-factor", "0.001"]) == 0
    # Total mass: 3 mg + 0.001 x 3 mm3 x 450 HU
    assert capsys.readouterr().out.splitlines() == [
        "artery  Agatston  volume mm3  mass mg  lesions",
        "LM           0.0         0.0     0.00        0",
        "LAD          8.0        12.0     3.00        1",
        "LCX          0.0         0.0     0.00        0",
        "RCA          4.0         3.0     1.35        1",
        "total       12.0        15.0     4.35        2",
        "",
        "risk category  11-100",
        "CAC-DRS        A1/N2",
        "rule           agatston",
        "threshold      130 HU",
        "warning: tube voltage unknown, the 130 HU threshold of 120 kV was used",
    ]


def test_a_given_voltage_sets_the_threshold(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    label = write_label(tmp_path / "label.nii.gz", calcium()[1])
    scores = run_json(capsys, str(image), label, "--kvp", "80")
    assert (scores["threshold_hu"], scores["warnings"]) == (167, [])


def test_another_rule_can_be_chosen(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    label = write_label(tmp_path / "label.nrrd", calcium()[1])
    scores = run_json(capsys, str(image), label, "--rule", "ge")
    assert isinstance(scores["total"], dict)
    # The RCA lesion of exactly 1 mm2 does not count.
    assert (scores["rule"], scores["total"]["agatston"]) == ("ge", 8.0)


def test_names_of_segments_decide_over_values(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"Left Main calcium": 2, "LCX_region": 4}
    label = write_label(tmp_path / "label.seg.nrrd", calcium()[1], names)
    scores = run_json(capsys, str(image), label)
    arteries = scores["arteries"]
    assert isinstance(arteries, dict)
    assert [arteries[name]["agatston"] for name in ("LM", "LAD", "LCX", "RCA")] == [8, 0, 0, 0]


@pytest.mark.parametrize("flips", [(-1, 1, 1), (1, -1, 1), (1, 1, -1), (-1, -1, -1)])
def test_the_stored_direction_of_the_axes_changes_nothing(
    flips: tuple[int, int, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hu, labels = calcium()
    grid = grid_of(hu.shape, flips)
    write_volume(tmp_path / "image.nrrd", Volume(hu, grid))
    write_label_map(tmp_path / "label.nrrd", labels, grid, compress=False)
    scores = run_json(capsys, str(tmp_path / "image.nrrd"), str(tmp_path / "label.nrrd"))
    assert isinstance(scores["total"], dict)
    assert scores["total"]["agatston"] == 12.0


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["score", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("caclabel: ")
    assert captured.err.count("\n") == 1
    return captured.err


class TestRefusals:
    def test_a_value_outside_the_contract(
        self, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        labels = calcium()[1]
        labels[0, 0, 0] = 9
        label = write_label(tmp_path / "label.nrrd", labels)
        assert "canonical label values 1 to 8, got 9" in refusal(capsys, str(image), label)

    def test_an_unknown_name(
        self, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        names = {"liver": 2, "RCA": 4}
        label = write_label(tmp_path / "label.nrrd", calcium()[1], names)
        assert "got 'liver'" in refusal(capsys, str(image), label)

    def test_a_label_of_another_grid(
        self, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        label = tmp_path / "label.nrrd"
        affine = np.diag([0.7, 0.7, 3.0, 1.0])
        write_label_map(label, calcium()[1], Grid((4, 16, 20), affine), compress=False)
        refusal(capsys, str(image), str(label))

    def test_an_unknown_rule(
        self, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        label = write_label(tmp_path / "label.nrrd", calcium()[1])
        message = refusal(capsys, str(image), label, "--rule", "best")
        assert "no scoring rule 'best'; known: agatston" in message

    def test_a_label_that_does_not_exist(
        self, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        refusal(capsys, str(image), str(tmp_path / "absent.nrrd"))

    @pytest.mark.parametrize("factor", ["0", "-1", "nan"])
    def test_an_impossible_mass_factor(
        self, factor: str, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        label = write_label(tmp_path / "label.nrrd", calcium()[1])
        message = refusal(capsys, str(image), label, f"--mass-factor={factor}")
        assert "mass factor" in message
