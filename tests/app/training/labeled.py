"""Labeled images without files, for tests that choose but do not train."""

import hashlib

from sqlalchemy.orm import Session

from app.store.tables import LeaseRow
from tests.app.pool import add_image, label_row


def patient(number: int) -> str:
    """Return a patient key as the intake makes them."""
    return hashlib.sha256(str(number).encode()).hexdigest()


def add_label(
    session: Session,
    image_id: str,
    *,
    version: int = 1,
    tag: str = "final",
    at: float | None = None,
) -> int:
    """Add a label version; returns its id."""
    row = label_row(image_id, tag, version=version)
    row.submitted_name, row.annotator, row.covers_regions = "label.nrrd", "a", True
    row.created_at = float(version) if at is None else at
    session.add(row)
    session.flush()
    return row.id


def add_labeled(session: Session, number: int, *, scan: str = "", at: float = 1.0) -> int:
    """Add an image of a patient with its label; returns the label's id."""
    image_id = f"image-{number}{scan}"
    add_image(session, image_id, patient=patient(number))
    return add_label(session, image_id, at=at)


def add_lease(
    session: Session, image_id: str, *, strategy: str = "uncertainty", is_random: bool = False
) -> None:
    """Let a sample have been served and returned."""
    session.add(
        LeaseRow(
            image_id=image_id,
            strategy=strategy,
            client_id="c",
            served_at=0.5,
            expires_at=9.0,
            released_at=1.0,
            outcome="submitted",
            is_random=is_random,
        )
    )
    session.flush()
