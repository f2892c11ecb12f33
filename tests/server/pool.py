"""Images, labels and predictions of the test pool, all on the default grid of the factories."""

import tempfile
import uuid
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.calcium.labels import LABELS
from app.imaging.labelmap import LabelMap, read_label_map, write_label_map
from app.imaging.volume_writer import write_volume
from app.prediction_keys import prediction_key
from app.store.tables import ModelVersionRow, PredictionRow
from server.dependencies import Services
from tests.factories import SHAPE, make_grid, make_volume

SCORES = {
    "total": {"agatston": 12.0, "volume_mm3": 9.0, "mass_mg": 2.5, "lesions": 1},
    "arteries": {},
    "risk_category": "11-100",
    "cac_drs": "A1/N1",
    "rule": "agatston",
    "threshold_hu": 130,
}

SAMPLES = [[0.0, 10.0, 0.0, 0.0], [0.0, 12.0, 0.0, 0.0], [0.0, 500.0, 0.0, 0.0]]
"""Agatston scores of three samples; all calcium is in the LAD."""


@cache
def image_bytes(seed: int = 0) -> bytes:
    """Return a NIfTI file of noise."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.nii.gz"
        write_volume(path, make_volume(seed=seed, patient_id=f"patient-{seed}"))
        return path.read_bytes()


def label_array() -> NDArray[np.uint8]:
    """Return a label map with two voxels of LAD calcium in a region of the LAD."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:4, 1:5, 1:6] = LABELS["LAD_region"]
    labels[2, 2, 2:4] = LABELS["LAD"]
    return labels


@cache
def label_bytes(extension: str = ".nrrd") -> bytes:
    """Return a label file that fits every image."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"label{extension}"
        write_label_map(path, label_array(), make_grid(), compress=True, names=LABELS)
        return path.read_bytes()


def read_label_bytes(content: bytes, folder: Path, extension: str = ".nrrd") -> LabelMap:
    """Read a label file that an answer brought."""
    path = folder / f"answer{extension}"
    path.write_bytes(content)
    return read_label_map(path)


def add_model(services: Services) -> int:
    """Let there be an active model version; returns its id."""
    row = ModelVersionRow(
        job_id=str(uuid.uuid4()),
        sha256="ab" * 32,
        card={"code_version": "0.1.0", "loss": float("nan")},
        label_count=3,
        is_active=True,
        created_at=1000.0,
    )
    with services.database.writing() as session:
        session.add(row)
    return row.id


def add_prediction(services: Services, image_id: str, model_version: int) -> int:
    """Let the model version have predicted an image; returns the id of the row."""
    row = PredictionRow(
        image_id=image_id,
        model_version_id=model_version,
        key=prediction_key(services.settings),
        sha256=services.files.put(label_bytes(), ".nrrd"),
        scores=SCORES,
        agatston_samples=SAMPLES,
        agatston=12.0,
        clinical_uncertainty=0.5,
        lesion_uncertainty=0.1,
        region_uncertainty=0.1,
        has_candidates=True,
        embedding=b"",
        seconds=0.25,
        created_at=1001.0,
    )
    with services.database.writing() as session:
        session.add(row)
    return row.id
