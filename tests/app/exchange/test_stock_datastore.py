"""Exports and imports against the datastore class of MONAI Label itself."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.exchange import monailabel
from app.exchange.data_folder import DataFolder
from app.exchange.export_monailabel import MonailabelExporter
from app.exchange.exporting import export_labels
from app.exchange.target import Target
from app.imaging.volume_writer import write_volume
from app.intake.pool import current_labels
from tests.app.conftest import Deployment
from tests.app.exchange.labeled_pool import GRID, SERIES_UID, fill, lad, volume_with_calcium
from tests.app.exchange.pool import axial_label, images_of, labels_of, take_all
from tests.factories import write_nifti

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("monailabel") is None, reason="monailabel is not installed"
)

PROGRAM = Path(__file__).with_name("stock_datastore.py")


def stock(*arguments: object) -> Any:
    command = [sys.executable, str(PROGRAM), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_monai_label_opens_an_export_as_its_own(deployment: Deployment, tmp_path: Path) -> None:
    pool, out = fill(deployment), tmp_path / "out"
    with pool.database.reading() as session:
        versions = current_labels(session)
    list(export_labels(MonailabelExporter(pool, Target(out, pool.settings)), versions))
    index = (out / "datastore_v2.json").read_bytes()
    found = stock("list", out)
    assert found["status"] == {"total": 3, "completed": 3, "label_tags": {"final": 3}}
    assert found["seen"][SERIES_UID] == {
        "image": str(out / f"{SERIES_UID}.nii.gz"),
        "label": str(out / f"labels/final/{SERIES_UID}.nrrd"),
        "names": ["LM", "LAD", "LCX", "RCA"],
    }
    # It found every file that the index names and no other one, or it would have rewritten it.
    assert (out / "datastore_v2.json").read_bytes() == index


def test_a_folder_that_monai_label_wrote_comes_in(data: DataFolder, tmp_path: Path) -> None:
    write_volume(tmp_path / "case_1.nii.gz", volume_with_calcium(1))
    write_nifti(tmp_path / "drawn.nii.gz", lad(1), GRID)
    stock("fill", tmp_path / "store", tmp_path / "case_1.nii.gz", tmp_path / "drawn.nii.gz")
    (outcome,) = take_all(data, monailabel.find_cases(tmp_path / "store"))
    assert (outcome.name, outcome.what, outcome.problems) == ("case_1", "image + label", ())
    (label,) = labels_of(data)
    # The first and only segment is called RCA there, which is value 4 here.
    np.testing.assert_array_equal(axial_label(data, label), lad(4))
    assert label.annotator == "dr-x"
    assert images_of(data)["case_1"].info["client_id"] == "slicer-user"
