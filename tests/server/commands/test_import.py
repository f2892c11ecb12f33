from pathlib import Path

import pytest

from server.cli import main
from tests.app.exchange.coca_files import Drawn, box, make_scan, write_gated
from tests.app.exchange.labeled_pool import volume_with_calcium
from tests.factories import write_itk, write_nifti
from tests.server.conftest import Site

CONTOUR = Drawn("LAD", 1, box(10, 4, 5, 3))


@pytest.fixture
def coca(tmp_path: Path) -> Path:
    for number in ("7", "8"):
        hu = make_scan(seed=int(number)).hu.copy()
        hu[1, 4:7, 10:15] = 300
        scan = make_scan(hu if number == "7" else None, number=number)
        write_gated(tmp_path / "coca", number, scan, [CONTOUR])
    return tmp_path / "coca"


def test_the_end_is_a_table_and_the_code_says_whether_all_went_in(
    coca: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["import", "coca", str(coca), "--data", str(tmp_path / "data")]
    assert main(command) == 1
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        "     1  image + label",
        "     1  refused",
        "",
        "could not be used:",
        "gated 8: no contour holds a voxel of at least 130 HU",
    ]
    assert "1 of 2 cases" in printed.err
    (coca / "Gated_release_final/calcium_xml/8.xml").unlink()
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines() == ["     1  image", "     1  nothing new"]


def test_a_running_server_shows_what_comes_in(site: Site, coca: Path) -> None:
    # The application has the database open while the command writes to it.
    assert site.stats()["total"] == 0
    data = site.services.settings.data
    main(["import", "coca", str(coca), "--data", str(data)])
    assert (site.stats()["total"], site.stats()["completed"]) == (1, 1)
    image_id = make_scan(number="7").identifiers.series_uid
    label = site.client.get("/datastore/label", params={"label": image_id, "tag": "final"})
    assert label.status_code == 200
    assert site.client.get("/datastore/image", params={"image": image_id}).status_code == 200


def test_a_folder_in_the_studies_folder_is_scanned_and_stays(
    coca: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--studies", str(coca), "--data", str(tmp_path / "data")]
    assert main(["import", "coca", str(coca), *options]) == 1
    assert capsys.readouterr().out.splitlines()[:3] == [
        "the folder lies in the studies folder, whose scan registered 2 images and 0 labels",
        "     1  label",
        "     1  refused",
    ]
    assert not list((tmp_path / "data/files").rglob("*.nii.gz"))


def test_orcascore_takes_the_voltage_that_its_files_cannot_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    volume = volume_with_calcium(1)
    (tmp_path / "in").mkdir()
    write_itk(tmp_path / "in/TRV1P1CTI.mhd", volume.hu, volume.grid)
    options = ["--data", str(tmp_path / "data")]
    assert main(["import", "orcascore", str(tmp_path / "in"), "--kvp", "100", *options]) == 0
    assert capsys.readouterr().out == "     1  image\n"
    assert main(["import", "coca", str(tmp_path / "in"), "--kvp", "100", *options]) == 2
    assert "--kvp is for orcascore only" in capsys.readouterr().err


def test_a_monai_label_folder_comes_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    volume = volume_with_calcium(1)
    (tmp_path / "in").mkdir()
    write_nifti(tmp_path / "in/case_1.nii.gz", volume.hu, volume.grid)
    assert main(["import", "monailabel", str(tmp_path / "in"), "--data", str(tmp_path / "d")]) == 0
    assert capsys.readouterr().out == "     1  image\n"


def test_a_folder_that_is_not_there_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = str(tmp_path / "absent")
    assert main(["import", "coca", absent, "--data", str(tmp_path / "data")]) == 2
    assert capsys.readouterr().err == f"caclabel: there is no folder {absent}\n"
    assert not (tmp_path / "data").exists()
