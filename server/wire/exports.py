"""Shape of an export."""

from typing import Self

from app.store.tables import ExportRow, LabelRow
from server.wire.schemas import Answer


class ExportOut(Answer):
    """A label on its way to the DICOMweb server; ``next_at`` is when it is tried again."""

    label_id: int
    image: str
    version: int
    status: str
    attempts: int
    problem: str
    seg_uid: str
    sr_uid: str
    next_at: float | None = None
    ended_at: float | None = None

    @classmethod
    def of(cls, export: ExportRow, label: LabelRow) -> Self:
        """Build the answer for a row and its label."""
        return cls(
            label_id=label.id,
            image=label.image_id,
            version=label.version,
            status=export.status,
            attempts=export.attempts,
            problem=export.problem,
            seg_uid=export.seg_uid,
            sr_uid=export.sr_uid,
            next_at=export.next_at if export.status == "waiting" else None,
            ended_at=export.ended_at,
        )
