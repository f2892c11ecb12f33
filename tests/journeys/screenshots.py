"""Pictures of OHIF for the documentation: ``python -m tests.journeys.screenshots FOLDER``."""

import csv
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Final

from app.calcium.phantom.pool import IMAGES, ORACLE, TABLE, write_pool
from tests.journeys.dicom_pool import plant_predictions
from tests.journeys.serving import started, wait_until
from tests.journeys.viewing import Viewer, viewing

_SIZE: Final = (256, 256, 40)
"""Voxels along (X, Y, Z)."""

_COUNT: Final = 2

_SEED: Final = 1


def write_pictures(target: Path) -> None:
    """Serve phantoms with their true labels as predictions, and take pictures of OHIF."""
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for _ in write_pool(folder, count=_COUNT, seed=_SEED, size=_SIZE, dicom=True):
            pass
        with (folder / TABLE).open(encoding="utf-8") as table:
            patient = max(csv.DictReader(table), key=lambda row: float(row["agatston"]))["id"]
        with started(folder / IMAGES, folder / "data") as server:
            wait_until(lambda: server.has_worker() and server.images() == _COUNT, server)
            plant_predictions(folder / "data", partial(_oracle, folder / ORACLE))
            found = server.request("GET", f"/proxy/dicom/qido/studies?PatientID={patient}")
            with viewing(server.url) as viewer:
                study_uid = found.json()[0]["0020000D"]["Value"][0]
                _take(viewer, target, patient, study_uid)


def _take(viewer: Viewer, target: Path, patient: str, study_uid: str) -> None:
    def picture(name: str) -> None:
        viewer.page.screenshot(path=target / f"ohif-{name}.png")

    viewer.open_list(patient)
    picture("studies")
    viewer.open_study(study_uid)
    viewer.connect()
    viewer.segment()
    viewer.show_calcium()
    picture("segmentation")
    viewer.next_sample(then=partial(picture, "next-sample"))
    viewer.show_tools()
    viewer.save_label()
    picture("saved")


def _oracle(folder: Path, patient_id: str) -> bytes:
    return (folder / f"{patient_id}.nrrd").read_bytes()


if __name__ == "__main__":
    write_pictures(Path(sys.argv[1]))
