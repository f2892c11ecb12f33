"""Submitting labels as clients do."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

from app.calcium.labels import LABELS
from app.intake import submission
from app.intake.submission import Submission
from app.settings import Settings
from app.store.database import Database
from app.store.files import FileStore
from app.store.tables import Json, LabelRow

ALL_NAMES: Final[Json] = {
    "label_info": [{"name": name, "idx": value} for name, value in LABELS.items()]
}
"""What 3D Slicer sends with a label when nobody touched the list of segments."""


class Place(Protocol):
    """Where labels are kept."""

    @property
    def settings(self) -> Settings:
        """Settings of the deployment."""

    @property
    def database(self) -> Database:
        """Its database."""

    @property
    def files(self) -> FileStore:
        """Its files."""


def submit_label(
    place: Place,
    image_id: str,
    path: Path,
    *,
    params: Mapping[str, object] = ALL_NAMES,
    annotator: str = "anna",
    now: float = 10.0,
    tag: str = "final",
) -> LabelRow:
    """Submit the label in a file."""
    label = Submission(image_id, path.read_bytes(), path.name, params, annotator, tag)
    row, _ = submission.submit(place.database, place.files, place.settings, label, now=now)
    return row
