"""A sample as the clients expect it."""

from app.pacs.retrieval import series_url
from app.samples import Sample
from app.settings import Settings
from server.wire.schemas import SampleOut


def offer(sample: Sample, settings: Settings) -> SampleOut:
    """Return the answer that makes a client download and show the image.

    No server path is told: 3D Slicer downloads an image without one. ``name`` is the name in
    its cache, which it trusts unless a checksum says otherwise.
    """
    image = sample.image
    about = {
        "PatientID": image.patient_id,
        "StudyInstanceUID": image.study_uid,
        "SeriesInstanceUID": image.series_uid,
        "StudyDate": image.study_date,
        "StudyTime": image.study_time,
        "Modality": image.modality,
        "RetrieveURL": series_url(settings, image),
        "checksum": image.file_sha256 and f"SHA256:{image.file_sha256}",
    }
    known = {key: value for key, value in about.items() if value}
    return SampleOut(
        id=image.id,
        weight=sample.utility,
        name=image.name,
        ts=int(image.registered_at),
        expires_ts=int(sample.lease.expires_at),
        **known,
    )
