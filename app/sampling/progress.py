"""How far the pool is scored, and how long annotating took."""

from dataclasses import dataclass

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.intake.pool import FINAL_TAG
from app.intake.shared_pool import shared_pool
from app.prediction_keys import prediction_key
from app.sampling.costs import cost_model
from app.settings import Settings
from app.store.tables import LabelRow
from strategies.cost import CostModel


@dataclass(frozen=True)
class Coverage:
    """How many of the images to label the active model version has scored.

    Attributes:
        scored: Scored images.
        images: Images without a final label.
    """

    scored: int
    images: int

    @property
    def share(self) -> float:
        """Scored share, 0 of none."""
        return self.scored / max(self.images, 1)


@dataclass(frozen=True)
class AnnotationTimes:
    """How long annotating took.

    Attributes:
        labels: Final labels whose annotation time is known.
        median_s: Median of these times; None without one.
        total_s: Their sum.
        expected: What the next ones are expected to take.
    """

    labels: int
    median_s: float | None
    total_s: float
    expected: CostModel


def coverage(session: Session, settings: Settings) -> Coverage:
    """Count the images to label, leased or not."""
    pool = shared_pool(session, prediction_key(settings))
    is_scored = pool.candidates.is_scored & pool.is_open
    return Coverage(int(np.count_nonzero(is_scored)), int(np.count_nonzero(pool.is_open)))


def annotation_times(session: Session) -> AnnotationTimes:
    """Summarize the annotation times of the final labels."""
    timed = select(LabelRow.annotation_seconds).where(
        LabelRow.tag == FINAL_TAG,
        LabelRow.deleted_at.is_(None),
        LabelRow.annotation_seconds.is_not(None),
    )
    seconds = np.array(session.scalars(timed).all(), np.float64)
    median = float(np.median(seconds)) if seconds.size else None
    return AnnotationTimes(seconds.size, median, float(seconds.sum()), cost_model(session))
