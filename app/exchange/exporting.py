"""Labels on their way out, one image after the other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import CacLabelError
from app.exchange.data_folder import DataFolder
from app.imaging.geometry import match_label_to_grid
from app.imaging.labelmap import read_label_map
from app.intake.image_rows import grid_of
from app.intake.label_check import CANONICAL_EXTENSION
from app.intake.pool import is_available
from app.store.tables import ImageRow, LabelRow


class Exporter(Protocol):
    """One format."""

    def export(self, image: ImageRow, label: LabelRow) -> str:
        """Write what belongs to a label version, and say in a word or two what was done.

        Raises:
            CacLabelError: If it cannot be written.
        """

    def finish(self) -> None:
        """Write what belongs to all of them."""


@dataclass(frozen=True)
class Exported:
    """What became of a label version.

    Attributes:
        name: Id of the image.
        what: What was done.
        problem: Why it could not be exported, or None.
    """

    name: str
    what: str
    problem: str | None = None


def export_labels(
    exporter: Exporter, versions: Sequence[tuple[LabelRow, ImageRow]]
) -> Iterator[Exported]:
    """Export label versions; a bad one is reported, and the rest is written."""
    for label, image in versions:
        try:
            yield Exported(image.id, exporter.export(image, label))
        except CacLabelError as error:
            yield Exported(image.id, "refused", str(error))
        except OSError as error:
            problem = f"a file cannot be read or written: {error.strerror}"
            yield Exported(image.id, "refused", problem)
    exporter.finish()


def every_version(session: Session, tag: str) -> Sequence[tuple[LabelRow, ImageRow]]:
    """Return all versions of the labels with a tag that nobody deleted, images by age."""
    wanted = (
        select(LabelRow, ImageRow)
        .join(ImageRow, ImageRow.id == LabelRow.image_id)
        .where(LabelRow.tag == tag, LabelRow.deleted_at.is_(None), is_available())
        .order_by(ImageRow.registered_at, ImageRow.id, LabelRow.version)
    )
    return [(label, image) for label, image in session.execute(wanted)]


def stored_label(data: DataFolder, image: ImageRow, label: LabelRow) -> NDArray[np.uint8]:
    """Return a label map in the order of its image's own file, canonical values."""
    found = read_label_map(data.files.path(label.sha256, CANONICAL_EXTENSION))
    return match_label_to_grid(found, grid_of(image)).array.astype(np.uint8)
