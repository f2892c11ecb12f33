"""A pool of small DICOM series with predictions planted, so that no network has to be trained."""

import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.calcium.labels import LABELS
from app.imaging.dicom.writer import write_series
from app.imaging.labelmap import write_label_map
from app.imaging.volume import Grid, Identifiers, Volume
from app.prediction_keys import prediction_key
from app.settings import Settings
from app.store.tables import ImageRow, ModelVersionRow, PredictionRow
from server.dependencies import open_services
from tests.factories import make_grid

SHAPE: Final = (8, 64, 64)
"""Array shape (Z, Y, X)."""

_TOTAL: Final = {"agatston": 96.0, "volume_mm3": 96.0, "mass_mg": 27.7, "lesions": 1}


def dicom_grid() -> Grid:
    """Return the grid of every series."""
    return make_grid(SHAPE, spacing_mm=(3.0, 1.0, 1.0))


def planted_labels(seed: int) -> NDArray[np.uint8]:
    """Return what is predicted for an image: calcium in the LAD and its region, and in the RCA."""
    labels = np.zeros(SHAPE, np.uint8)
    y, x = np.random.default_rng(seed).integers(12, 30, 2)
    labels[2:6, y - 4 : y + 9, x - 4 : x + 9] = LABELS["LAD_region"]
    labels[3:5, y : y + 4, x : x + 4] = LABELS["LAD"]
    labels[3:6, y + 20 : y + 25, x + 20 : x + 23] = LABELS["RCA"]
    return labels


def planted_hu(seed: int) -> NDArray[np.int16]:
    """Return the image that belongs to ``planted_labels``: its calcium has 400 HU."""
    labels = planted_labels(seed)
    hu = np.random.default_rng(seed).normal(-80, 20, SHAPE)
    hu[labels == LABELS["LAD_region"]] = 40
    hu[(labels == LABELS["LAD"]) | (labels == LABELS["RCA"])] = 400
    return hu.astype(np.int16)


def write_series_pool(folder: Path, count: int) -> Path:
    """Write the series of the patients patient-0, patient-1 and so on; the number is the seed."""
    for seed in range(count):
        who = Identifiers(f"patient-{seed}", study_date=f"2026010{seed + 1}", study_time="101500")
        volume = Volume(planted_hu(seed), dicom_grid(), 120.0, who)
        # Scanners number slices from either end.
        write_series(folder / f"{seed}", volume, descending=seed % 2 == 0)
    return folder


def planted_label(patient_id: str) -> bytes:
    """Return what is predicted for a patient of the pool, as a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "label.nrrd"
        labels = planted_labels(int(patient_id.removeprefix("patient-")))
        write_label_map(path, labels, dicom_grid(), compress=True, names=LABELS)
        return path.read_bytes()


def plant_predictions(
    data: Path, label_of: Callable[[str], bytes] = planted_label
) -> dict[str, str]:
    """Let there be an active model version that has predicted every image.

    Args:
        data: Folder of the deployment.
        label_of: Canonical label map of a patient, as a file.

    Returns:
        Id of the image of each patient.
    """
    services = open_services(Settings(data=data))
    with services.database.writing() as session:
        model = ModelVersionRow(
            job_id=str(uuid.uuid4()),
            sha256="ab" * 32,
            card={"code_version": "0.1.0"},
            label_count=3,
            is_active=True,
            created_at=1000.0,
        )
        session.add(model)
        session.flush()
        image_ids = {row.patient_id: row.id for row in session.query(ImageRow)}
        for patient_id, image_id in image_ids.items():
            sha256 = services.files.put(label_of(patient_id), ".nrrd")
            session.add(_prediction(prediction_key(services.settings), image_id, sha256, model.id))
    services.database.close()
    return image_ids


def _prediction(key: str, image_id: str, sha256: str, model_version: int) -> PredictionRow:
    return PredictionRow(
        image_id=image_id,
        model_version_id=model_version,
        key=key,
        sha256=sha256,
        scores={
            "total": _TOTAL,
            "arteries": {},
            "risk_category": "11-100",
            "cac_drs": "A1/N1",
            "rule": "agatston",
            "threshold_hu": 130,
        },
        agatston_samples=[[0.0, 96.0, 0.0, 0.0]] * 3,
        agatston=96.0,
        clinical_uncertainty=0.5,
        lesion_uncertainty=0.1,
        region_uncertainty=0.1,
        has_candidates=True,
        embedding=b"",
        seconds=0.25,
        created_at=1001.0,
    )
