"""Series of the DICOMweb server as images of the pool."""

from sqlalchemy.orm import Session

from app import model_versions
from app.errors import ImagingError
from app.imaging.dicom.dicomweb import RemoteSeries
from app.intake.image_rows import CONVERTED_EXTENSION, MeasuredVolume, Origin, image_row
from app.intake.row_changes import reattach, replace
from app.pacs.retrieval import SOURCE
from app.store.tables import ImageRow


def signature_of(series: RemoteSeries) -> str:
    """Return what changes when a series does, as far as a search tells."""
    return f"{series.instances if series.instances is not None else 'unknown'} instances"


def register(
    session: Session, series: RemoteSeries, measured: MeasuredVolume, *, now: float
) -> bool:
    """Make a series an image, or bring its image up to date, and ask for its scores.

    An image of this series that came from a folder before is taken over with its labels.

    Args:
        session: Open transaction.
        series: What the server says.
        measured: What its files show, checked.
        now: Time of registration.

    Returns:
        False when a person removed the image: it stays away.

    Raises:
        ImagingError: If the series shows something else than what was labeled, or than an
            image of its name that came from elsewhere.
    """
    image_id, content = series.series_uid, measured.content_sha256
    row = session.get(ImageRow, image_id)
    if row is not None and row.removed_at is not None:
        return False
    origin = _origin(series, row if row is not None and row.content_sha256 == content else None)
    if row is None:
        session.add(image_row(image_id, measured, origin, {}, now=now))
    elif row.content_sha256 == content:
        reattach(session, row, measured, origin)
    elif row.source != SOURCE:
        raise ImagingError(f"image {image_id} exists with other content, not from this server")
    else:
        refusal = f"the series changed on the server after image {image_id} was labeled"
        replace(session, row, measured, origin, refusal=refusal, now=now)
    session.flush()
    model_versions.request_scoring(session, [image_id], now=now)
    return True


def _origin(series: RemoteSeries, same: ImageRow | None) -> Origin:
    """Return where an image lies; the file that clients get of equal content is kept."""
    return Origin(
        SOURCE,
        "dicom",
        f"{series.study_uid}/{series.series_uid}",
        signature_of(series),
        CONVERTED_EXTENSION,
        same.file_sha256 if same is not None and same.kind == "dicom" else "",
    )
