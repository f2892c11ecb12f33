"""What the pool holds after an import."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from app.arrays import load_image, load_label
from app.exchange.data_folder import DataFolder
from app.exchange.importing import Case, Outcome, import_cases
from app.store.tables import ImageRow, LabelRow


def take_all(data: DataFolder, cases: Sequence[Case]) -> list[Outcome]:
    """Import cases to the end."""
    return list(import_cases(data, cases))


def images_of(data: DataFolder) -> dict[str, ImageRow]:
    """Return every image by its id."""
    with data.database.reading() as session:
        return {row.id: row for row in session.scalars(select(ImageRow))}


def labels_of(data: DataFolder) -> list[LabelRow]:
    """Return every label version, oldest first."""
    with data.database.reading() as session:
        return list(session.scalars(select(LabelRow).order_by(LabelRow.id)))


def axial_label(data: DataFolder, row: LabelRow) -> NDArray[np.uint8]:
    """Return the canonical label map in axial order."""
    with data.database.reading() as session:
        image = session.get_one(ImageRow, row.image_id)
    return load_label(data.files, load_image(data.settings, data.files, image), row.sha256)
