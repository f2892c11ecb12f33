"""The weights of the active model version."""

from pathlib import Path

from sqlalchemy.orm import Session

from app import model_versions
from app.errors import NotFoundError
from app.settings import Settings
from app.store.tables import ModelVersionRow
from server.wire.finite import finite
from server.wire.schemas import ModelVersionOut


def describe(session: Session, model: str) -> ModelVersionOut:
    """Return what is known of the weights that answer now.

    Raises:
        NotFoundError: If there is no trained model yet.
    """
    row = _active(session, model)
    return ModelVersionOut(
        checksum=f"SHA256:{row.sha256}",
        modified_time=int(row.created_at),
        version=row.id,
        label_count=row.label_count,
        train_stats={model: finite(model_versions.train_stats(session))},
        card=finite(row.card),
    )


def weights_file(session: Session, settings: Settings, model: str) -> Path:
    """Return the file of the weights that answer now.

    Raises:
        NotFoundError: If there is no trained model yet, or its file is gone.
    """
    path = settings.data / "models" / f"{_active(session, model).job_id}.safetensors"
    if not path.exists():
        raise NotFoundError(f"the weights of model {model!r} are gone from the data folder")
    return path


def _active(session: Session, model: str) -> ModelVersionRow:
    row = model_versions.active(session)
    if row is None:
        raise NotFoundError(f"model {model!r} has not been trained yet")
    return row
