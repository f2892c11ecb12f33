"""Pictures of OHIF for the documentation: ``python -m tests.journeys.screenshots FOLDER``."""

import csv
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Final

from playwright.sync_api import FloatRect

from app.calcium.phantom.pool import IMAGES, ORACLE, TABLE, write_pool
from tests.journeys.dicom_pool import plant_predictions, planted_label, write_series_pool
from tests.journeys.serving import RunningServer, started, wait_until
from tests.journeys.viewing import Viewer, viewing
from tests.orthanc import OrthancServer, orthanc

_SIZE: Final = (256, 256, 40)
"""Voxels along (X, Y, Z)."""

_COUNT: Final = 2

_SEED: Final = 1

_PACS_COUNT: Final = 3

_PACS_PATIENT: Final = "patient-1"

_UPPER_PART: Final = FloatRect(x=0, y=0, width=1400, height=420)
"""Where the list of studies is; below it the page is empty."""


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


def write_pacs_pictures(target: Path) -> None:
    """Serve the series of an Orthanc, label one, and show what it has become there."""
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, orthanc(Path(name) / "orthanc") as remote:
        series = write_series_pool(Path(name) / "series", _PACS_COUNT)
        remote.upload(path for path in sorted(series.rglob("*")) if path.is_file())
        with started(remote.url, Path(name) / "data") as server:
            wait_until(lambda: server.has_worker() and server.images() == _PACS_COUNT, server)
            _submit(server, remote)
            wait_until(lambda: bool(remote.find("Series", Modality="SR")), server)
            with viewing(server.url) as viewer:
                _take_exported(viewer, target, remote)


def _submit(server: RunningServer, remote: OrthancServer) -> None:
    [found] = remote.find("Series", PatientID=_PACS_PATIENT)
    tags = remote.request("GET", f"/series/{found}").json()["MainDicomTags"]
    label = {"label": ("label.nrrd", planted_label(_PACS_PATIENT))}
    path = f"/datastore/label?image={tags['SeriesInstanceUID']}"
    server.request("PUT", path, files=label).raise_for_status()


def _take_exported(viewer: Viewer, target: Path, remote: OrthancServer) -> None:
    viewer.open_list(_PACS_PATIENT)
    viewer.page.get_by_text("SEG").first.wait_for()
    viewer.page.screenshot(path=target / "pacs-studies.png", clip=_UPPER_PART)
    [study] = remote.find("Study", PatientID=_PACS_PATIENT)
    viewer.page.goto(f"{remote.root}/app/explorer.html#study?uuid={study}")
    viewer.page.get_by_text("SR", exact=False).first.wait_for(state="attached")
    viewer.page.wait_for_load_state("networkidle")
    viewer.page.screenshot(path=target / "pacs-orthanc.png")


def _oracle(folder: Path, patient_id: str) -> bytes:
    return (folder / f"{patient_id}.nrrd").read_bytes()


if __name__ == "__main__":
    write_pacs_pictures(Path(sys.argv[1]))
    write_pictures(Path(sys.argv[1]))
