"""A small data folder with an upload, two versions of a label and a model version."""

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from app import images
from app.imaging.labelmap import write_label_map
from app.integrity.references import references
from app.settings import Settings
from app.store.database import Database
from app.store.files import FileStore
from app.store.tables import ModelVersionRow
from tests.app.submitting import submit_label
from tests.factories import make_grid, make_labels
from tests.server.pool import image_bytes


@dataclass(frozen=True)
class Folder:
    """A data folder and what opens it."""

    settings: Settings
    database: Database
    files: FileStore

    def contents(self) -> dict[str, bytes]:
        """Return every file but the log beside the database, which readers make and remove."""
        data = self.settings.data
        return {
            path.relative_to(data).as_posix(): path.read_bytes()
            for path in data.rglob("*")
            if path.is_file() and not path.name.endswith(("-wal", "-shm"))
        }

    def path_of(self, owner: str) -> Path:
        """Return the file that a row names."""
        with self.database.reading() as session:
            (path,) = (one.path for one in references(session) if one.owner == owner)
        return self.settings.data / path

    def age(self, pattern: str) -> None:
        """Let files look as if they were written long ago."""
        for path in self.settings.data.glob(pattern):
            os.utime(path, (0, 0))


def open_folder(settings: Settings) -> Folder:
    """Open a data folder."""
    return Folder(settings, Database(settings.database), FileStore(settings.files))


def fill(folder: Folder, scratch: Path) -> None:
    """Upload an image, label it twice, and let there be weights with their card."""
    received = scratch / "case_1.nii.gz"
    received.write_bytes(image_bytes(1))
    checked = images.check_upload(
        folder.files, folder.settings, path=received, image_id=None, name=received.name, info={},
        now=1.0,
    )  # fmt: skip
    with folder.database.writing() as session:
        images.keep_upload(session, checked, now=1.0)
    for seed in (1, 2):
        path = scratch / f"label_{seed}.nii.gz"
        write_label_map(path, make_labels(seed=seed), make_grid(), compress=True)
        submit_label(folder, "case_1", path, params={})
    _add_weights(folder)


def _add_weights(folder: Folder) -> None:
    models = folder.settings.data / "models"
    models.mkdir()
    (models / "job-1.safetensors").write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    (models / "job-1.json").write_text(json.dumps({"sha256": digest}))
    version = ModelVersionRow(
        job_id="job-1", sha256=digest, card={}, label_count=2, is_active=False, created_at=2.0
    )
    with folder.database.writing() as session:
        session.add(version)


def add_studies(folder: Folder, studies: Path) -> Folder:
    """Return the folder with two images of a studies folder as well."""
    studies.mkdir()
    for seed in (1, 2):
        (studies / f"case_{seed}.nii.gz").write_bytes(image_bytes(seed))
    settings = folder.settings.model_copy(update={"studies": studies})
    images.scan_studies(folder.database, settings, now=lambda: 3.0)
    return Folder(settings, folder.database, folder.files)


def copy_of(original: Path, target: Path) -> Path:
    """Copy a data folder whose database nobody has open."""
    shutil.copytree(original, target)
    return target
