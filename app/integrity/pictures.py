"""Images decoded once more: those of the studies folder, and those whose array is kept.

A file in the file store is compared by its hash alone; what was made of it has none.
"""

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import images
from app.arrays import array_path, axial_image
from app.errors import CacLabelError
from app.imaging.volume import Volume
from app.integrity.findings import Report, Told
from app.settings import Settings
from app.store.files import FileStore
from app.store.tables import ImageRow


def check_images(session: Session, settings: Settings, report: Report, told: Told) -> None:
    """Check that images show what they showed when they came, and so do their arrays."""
    wanted = select(ImageRow).where(ImageRow.missing_since.is_(None)).order_by(ImageRow.id)
    rows = [row for row in session.scalars(wanted) if _is_worth_decoding(settings, row)]
    files = FileStore(settings.files)
    for number, row in enumerate(rows, start=1):
        told(f"{number} of {len(rows)} images decoded")
        report.count("images decoded")
        try:
            volume = images.open_volume(settings, files, row)
        except CacLabelError as error:
            report.damage(f"image {row.id}", str(error))
        else:
            _check_array(settings, row, volume, report)
    _note_blindness(session, settings, report)


def _is_worth_decoding(settings: Settings, row: ImageRow) -> bool:
    """Series of a DICOMweb server are not: only the server knows them, and this asks nobody."""
    if row.source == "studies":
        return settings.studies_folder is not None
    return row.source == "upload" and array_path(settings, row).exists()


def _check_array(settings: Settings, row: ImageRow, volume: Volume, report: Report) -> None:
    path = array_path(settings, row)
    try:
        kept = np.load(path, mmap_mode="r")
    except FileNotFoundError:
        return
    except (OSError, ValueError, EOFError):
        kept = None
    if kept is None or not np.array_equal(kept, axial_image(volume).hu):
        place = path.relative_to(settings.data).as_posix()
        problem = "it is not what the image shows; delete it, it is made again"
        report.damage(f"{place} (image {row.id})", problem)


def _note_blindness(session: Session, settings: Settings, report: Report) -> None:
    of_studies = select(ImageRow.id).where(
        ImageRow.source == "studies", ImageRow.missing_since.is_(None)
    )
    count = len(session.scalars(of_studies).all())
    if count and settings.studies_folder is None:
        where = "their files were not looked at; give their folder with --studies"
        report.note(f"{count} images of the studies folder", where)
