"""The unlabeled images as a strategy sees them: ids and arrays, no row objects."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from app.intake.pool import labeled_ids
from app.store.tables import ImageRow, LeaseRow, ModelVersionRow, PredictionRow
from strategies.base import Candidates


@dataclass(frozen=True, eq=False)
class Pool:
    """The images a strategy may rank, longest not served first.

    Attributes:
        image_ids: Ids, N of them.
        candidates: What a strategy sees of them, in the same order.
    """

    image_ids: Sequence[str]
    candidates: Candidates

    def subset(self, places: NDArray[np.int64]) -> "Pool":
        """Return the pool of the images at ``places`` alone."""
        taken = {f.name: getattr(self.candidates, f.name)[places] for f in fields(Candidates)}
        return Pool([self.image_ids[place] for place in places], Candidates(**taken))


def load_pool(session: Session) -> Pool:
    """Load the images that have no final label and no open lease, and are not missing."""
    version = session.scalar(select(ModelVersionRow.id).where(ModelVersionRow.is_active))
    leased = select(LeaseRow.image_id).where(LeaseRow.released_at.is_(None))
    served = (
        select(LeaseRow.image_id, func.max(LeaseRow.served_at).label("at"))
        .group_by(LeaseRow.image_id)
        .subquery()
    )
    mine = and_(PredictionRow.image_id == ImageRow.id, PredictionRow.model_version_id == version)
    rows = session.execute(
        select(
            ImageRow.id,
            ImageRow.patient_key,
            PredictionRow.clinical_uncertainty,
            PredictionRow.lesion_uncertainty,
            PredictionRow.agatston,
            PredictionRow.has_candidates,
        )
        .outerjoin(PredictionRow, mine)
        .outerjoin(served, served.c.image_id == ImageRow.id)
        .where(
            ImageRow.missing_since.is_(None),
            ImageRow.id.not_in(labeled_ids()),
            ImageRow.id.not_in(leased),
        )
        .order_by(func.coalesce(served.c.at, 0.0), ImageRow.registered_at, ImageRow.id)
    ).all()
    ids = [row[0] for row in rows]
    _, patient = np.unique([row[1] for row in rows], return_inverse=True)
    measures = np.array([row[2:5] for row in rows], dtype=np.float64).reshape(-1, 3)
    return Pool(
        ids,
        Candidates(
            clinical_uncertainty=measures[:, 0],
            lesion_uncertainty=measures[:, 1],
            agatston=measures[:, 2],
            is_scored=~np.isnan(measures[:, 2]),
            patient=patient.astype(np.int64),
            has_candidates=np.array([bool(row[5]) for row in rows], dtype=np.bool_),
        ),
    )
