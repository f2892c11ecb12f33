"""Rows of images for tests that need no files."""

from sqlalchemy.orm import Session

from app import model_versions
from app.imaging.volume import Grid
from app.prediction_keys import prediction_key
from app.settings import Settings
from app.store.tables import ImageRow, LabelRow, ModelVersionRow, PredictionRow
from tests.factories import make_grid

SETTINGS = Settings()
"""Settings as those of the tests where they matter to predictions."""

KEY = prediction_key(SETTINGS)
"""Key of the predictions that a deployment with the settings of the tests makes."""


def add_image(
    session: Session,
    image_id: str,
    *,
    patient: str = "",
    at: float = 0.0,
    grid: Grid | None = None,
    noise_sd_hu: float | None = None,
) -> ImageRow:
    """Add an image without a file; nothing that opens it will work."""
    grid = grid or make_grid()
    depth, height, width = grid.shape
    row = ImageRow(
        id=image_id,
        source="studies",
        kind="nifti",
        path=f"{image_id}.nii.gz",
        name=f"{image_id}.nii.gz",
        signature="",
        content_sha256="",
        file_sha256="",
        shape={"z": depth, "y": height, "x": width},
        affine=grid.affine.tolist(),
        kvp=120.0,
        noise_sd_hu=noise_sd_hu,
        patient_key=patient or image_id,
        info={"name": f"{image_id}.nii.gz"},
        registered_at=at,
    )
    session.add(row)
    session.flush()
    return row


def add_model_version(session: Session, job_id: str = "job-1") -> ModelVersionRow:
    """Add a model version and let it answer."""
    row = ModelVersionRow(
        job_id=job_id, sha256="", card={}, label_count=1, is_active=False, created_at=0.0
    )
    session.add(row)
    session.flush()
    return model_versions.activate(session, SETTINGS, row.id, actor="test", now=0.0, reason="test")


def add_prediction(
    session: Session,
    image_id: str,
    version_id: int,
    *,
    uncertainty: float,
    agatston: float = 50.0,
    key: str = KEY,
) -> PredictionRow:
    """Add what a model version says about an image."""
    row = PredictionRow(
        image_id=image_id,
        model_version_id=version_id,
        key=key,
        sha256="",
        scores={},
        agatston_samples=[],
        agatston=agatston,
        clinical_uncertainty=uncertainty,
        lesion_uncertainty=uncertainty,
        region_uncertainty=0.0,
        has_candidates=True,
        embedding=b"",
        seconds=0.1,
        created_at=0.0,
    )
    session.add(row)
    session.flush()
    return row


def label_row(
    image_id: str, tag: str = "final", *, version: int = 1, annotator: str = "", at: float = 0.0
) -> LabelRow:
    """Make a label without a file."""
    return LabelRow(
        image_id=image_id,
        tag=tag,
        version=version,
        sha256="",
        submitted_sha256="",
        submitted_name="",
        covers_calcium=True,
        covers_regions=False,
        annotator=annotator,
        info={},
        created_at=at,
    )
