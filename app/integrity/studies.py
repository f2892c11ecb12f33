"""Images outside of the data folder: the files of the studies folder, decoded and compared."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import images
from app.errors import CacLabelError
from app.integrity.findings import Report, Told
from app.settings import Settings
from app.store.files import FileStore
from app.store.tables import ImageRow


def check_studies(session: Session, settings: Settings, report: Report, told: Told) -> None:
    """Check that the images of the studies folder show what they showed when they came."""
    wanted = select(ImageRow).where(ImageRow.source == "studies", ImageRow.missing_since.is_(None))
    rows = session.scalars(wanted.order_by(ImageRow.id)).all()
    if rows and settings.studies_folder is None:
        where = "their files were not looked at; give their folder with --studies"
        report.note(f"{len(rows)} images of the studies folder", where)
        return
    files = FileStore(settings.files)
    for number, row in enumerate(rows, start=1):
        told(f"{number} of {len(rows)} images of the studies folder")
        report.count("images of the studies folder")
        try:
            images.open_volume(settings, files, row)
        except CacLabelError as error:
            report.damage(f"image {row.id}", str(error))
