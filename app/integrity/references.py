"""Which files the rows of the database name, and whose each of them is."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.arrays import LABEL_EXTENSION
from app.intake.identifiers import LABEL_EXTENSIONS, split_extension
from app.store.tables import ImageRow, LabelRow, ModelVersionRow, PredictionRow

_BATCH: Final = 1000
"""Rows that are read at once."""


@dataclass(frozen=True)
class Reference:
    """A file that a row names.

    Attributes:
        path: Where it lies in the data folder.
        sha256: Its hash as the row has it; empty where the row has none.
        owner: What it is, for people.
    """

    path: str
    sha256: str
    owner: str


def references(session: Session) -> Iterator[Reference]:
    """Yield every file that has to be in the data folder; one may be named several times."""
    yield from stored_references(session)
    yield from _weights(session)


def stored_references(session: Session) -> Iterator[Reference]:
    """Yield every file that has to be in the file store."""
    yield from _labels(session)
    yield from _uploads(session)
    yield from _predictions(session)


def _labels(session: Session) -> Iterator[Reference]:
    wanted = select(
        LabelRow.image_id,
        LabelRow.tag,
        LabelRow.version,
        LabelRow.sha256,
        LabelRow.submitted_sha256,
        LabelRow.submitted_name,
    ).execution_options(yield_per=_BATCH)
    for image_id, tag, version, canonical, submitted, name in session.execute(wanted):
        label = f"label {tag} version {version} of image {image_id}"
        yield _stored(canonical, LABEL_EXTENSION, label)
        _, extension = split_extension(name, LABEL_EXTENSIONS)
        yield _stored(submitted, extension, f"{label}, as it was submitted")


def _uploads(session: Session) -> Iterator[Reference]:
    wanted = select(ImageRow.id, ImageRow.path, ImageRow.name).where(ImageRow.source == "upload")
    for image_id, digest, name in session.execute(wanted.execution_options(yield_per=_BATCH)):
        yield _stored(digest, name.removeprefix(image_id), f"image {image_id}")


def _predictions(session: Session) -> Iterator[Reference]:
    wanted = select(PredictionRow.sha256, PredictionRow.image_id, PredictionRow.model_version_id)
    for digest, image_id, version in session.execute(wanted.execution_options(yield_per=_BATCH)):
        owner = f"prediction of model version {version} for image {image_id}"
        yield _stored(digest, LABEL_EXTENSION, owner)


def _weights(session: Session) -> Iterator[Reference]:
    wanted = select(ModelVersionRow.id, ModelVersionRow.job_id, ModelVersionRow.sha256)
    for version, job_id, digest in session.execute(wanted):
        owner = f"weights of model version {version}"
        yield Reference(f"models/{job_id}.safetensors", digest, owner)
        yield Reference(f"models/{job_id}.json", "", f"card of model version {version}")


def _stored(digest: str, extension: str, owner: str) -> Reference:
    return Reference(f"files/{digest[:2]}/{digest}{extension}", digest, owner)
