"""Segmentations that were stored and became no label, for the people who stored them."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.store.tables import SegmentationRow

_MOST: Final = 1000
"""Newest refusals that are listed; a PACS may hold any number of segmentations of other organs."""


def refused_segmentations(session: Session) -> Sequence[SegmentationRow]:
    """Return the segmentations that became no label, each with its reason, newest first."""
    refused = select(SegmentationRow).where(SegmentationRow.problem != "")
    newest = refused.order_by(SegmentationRow.seen_at.desc(), SegmentationRow.sop_uid)
    return session.scalars(newest.limit(_MOST)).all()
