"""A sample as the clients expect it."""

from typing import Final

from app.pacs.retrieval import SOURCE
from app.samples import Sample
from app.store.tables import ImageRow
from server.dicomweb.forwarding import WADO_ROOT
from server.wire.schemas import SampleOut

_HASH_DIGITS: Final = 16
"""Digits of a content hash in a name: more than enough to tell versions of one image apart."""


def offer(sample: Sample, base_url: str) -> SampleOut:
    """Return the answer that makes a client download and show the image.

    No server path is told: 3D Slicer downloads an image without one.

    Args:
        sample: What is offered.
        base_url: Address by which the client reached this server, with a slash at the end.
    """
    image = sample.image
    about = {
        "PatientID": image.patient_id,
        "StudyInstanceUID": image.study_uid,
        "SeriesInstanceUID": image.series_uid,
        "StudyDate": image.study_date,
        "StudyTime": image.study_time,
        "Modality": image.modality,
        "RetrieveURL": _retrieve_url(image, base_url),
        "checksum": image.file_sha256 and f"SHA256:{image.file_sha256}",
    }
    known = {key: value for key, value in about.items() if value}
    return SampleOut(
        id=image.id,
        weight=sample.utility,
        name=_name(image),
        ts=int(image.registered_at),
        expires_ts=int(sample.lease.expires_at),
        is_random=sample.lease.is_random,
        coverage=round(sample.coverage, 4),
        doubt=sample.doubt,
        **_note(sample),
        **known,
    )


def _note(sample: Sample) -> dict[str, str]:
    """Say why a strategy did not rank."""
    if not sample.is_fallback:
        return {}
    share = f"{sample.coverage:.0%} of the images are scored by the active model"
    return {"note": f"drawn at random by predicted risk, as only {share}"}


def _name(image: ImageRow) -> str:
    """Return the name in the client's cache, which it trusts unless a checksum says otherwise.

    The checksum of a converted file is known once it was made, and making it for an offer
    would take seconds. Until then the name is that of the content.
    """
    if image.file_sha256:
        return image.name
    ending = image.name.removeprefix(image.id)
    return f"{image.id}-{image.content_sha256[:_HASH_DIGITS]}{ending}"


def _retrieve_url(image: ImageRow, base_url: str) -> str:
    """Return where the series is retrieved: from us, as clients may not reach the PACS."""
    if image.kind != "dicom" or image.source not in ("studies", SOURCE) or not image.study_uid:
        return ""
    root = base_url.rstrip("/") + WADO_ROOT
    return f"{root}/studies/{image.study_uid}/series/{image.series_uid}"
