"""A small pool with labels of two annotators, for exports."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from app import images
from app.calcium.labels import LABELS
from app.exchange.data_folder import DataFolder
from app.imaging.labelmap import write_label_map
from app.imaging.volume import Identifiers, Volume
from app.imaging.volume_writer import write_volume
from tests.app.conftest import Deployment
from tests.app.submitting import submit_label
from tests.factories import make_grid, write_dicom, write_itk

GRID = make_grid((4, 10, 12), spacing_mm=(3.0, 0.5, 0.5))
SERIES_UID = "1.2.840.7"
IDENTIFIERS = Identifiers("secret-4", "1.2.840.6", SERIES_UID, modality="CT")


def volume_with_calcium(seed: int, *, kvp: float = 120.0) -> Volume:
    """Make soft tissue with 4 x 4 pixels of 250 HU: 4 mm2 on one slice."""
    noise = np.random.default_rng(seed).integers(-50, 60, GRID.shape).astype(np.int16)
    noise[1, 2:6, 3:7] = 250
    return Volume(noise, GRID, kvp)


def lad(value: int = LABELS["LAD"]) -> NDArray[np.uint8]:
    """Label that calcium, with a margin that does not count."""
    mask = np.zeros(GRID.shape, np.uint8)
    mask[1, 1:7, 2:8] = value
    return mask


def submit(
    data: DataFolder,
    image_id: str,
    mask: NDArray[np.uint8],
    *,
    names: tuple[str, ...] = ("LM", "LAD", "LCX", "RCA"),
    annotator: str = "anna",
    now: float = 1_700_000_000.0,
) -> None:
    """Submit a label that speaks about some names."""
    path = data.settings.data / "label.nrrd"
    spoken = {name: LABELS[name] for name in names}
    write_label_map(path, mask, GRID, compress=True, names=spoken)
    submit_label(
        data, image_id, path, params={"client_id": annotator}, annotator=annotator, now=now
    )
    path.unlink()


def fill(deployment: Deployment) -> DataFolder:
    """Register a NIfTI, a MetaImage and a DICOM series, all labeled, and one unlabeled image."""
    data = DataFolder(deployment.settings, deployment.database, deployment.files)
    studies = deployment.studies
    write_volume(studies / "nifti.nii.gz", volume_with_calcium(1))
    write_volume(studies / "unlabeled.nii.gz", volume_with_calcium(2))
    write_itk(studies / "meta.mha", volume_with_calcium(3).hu, GRID)
    series = volume_with_calcium(4, kvp=100.0)
    write_dicom(studies / "series", replace(series, identifiers=IDENTIFIERS))
    images.scan_studies(deployment.database, deployment.settings, now=lambda: 50.0)
    submit(data, "nifti", lad(), annotator="ben")
    submit(data, "nifti", lad(LABELS["RCA"]), now=1_700_000_060.0)
    submit(data, "meta", np.zeros_like(lad()), annotator="=cmd()")
    submit(data, SERIES_UID, lad())
    return data
