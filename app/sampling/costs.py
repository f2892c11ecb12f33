"""What annotating an image is expected to cost, by this server's own annotation times."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.store.tables import LeaseRow
from strategies.cost import CostModel, fit_cost

_NEWEST: Final = 500
"""Annotation times that count: who annotates, and how, changes."""

_LEASES_APART: Final = 16
"""Leases after which the fit is made anew, and with it the ranking that rests on it."""


def cost_model(session: Session) -> CostModel:
    """Return the cost model fitted to the newest annotation times, the published one at first.

    A time counts with the lesions and slices that were predicted when the image was served:
    that is what is known of the images it is to be predicted for.
    """
    timed = (
        LeaseRow.outcome == "submitted",
        LeaseRow.active_seconds > 0,
        LeaseRow.lesion_count.is_not(None),
    )
    newest = select(LeaseRow.id).where(*timed).order_by(LeaseRow.id.desc()).limit(1)
    last = session.scalar(newest) or 0
    return _fitted(session, last - last % _LEASES_APART) if last else fit([])


def _fitted(session: Session, last: int) -> CostModel:
    wanted = (
        select(LeaseRow.active_seconds, LeaseRow.lesion_count, LeaseRow.slice_count)
        .where(
            LeaseRow.id <= last,
            LeaseRow.outcome == "submitted",
            LeaseRow.active_seconds > 0,
            LeaseRow.lesion_count.is_not(None),
        )
        .order_by(LeaseRow.id.desc())
        .limit(_NEWEST)
    )
    return fit([(row[0], row[1] or 0, row[2] or 0) for row in session.execute(wanted)])


@lru_cache(maxsize=4)
def _fit(cases: tuple[tuple[float, int, int], ...]) -> CostModel:
    table = np.array(cases, np.float64).reshape(-1, 3)
    return fit_cost(table[:, 0], table[:, 1], table[:, 2])


def fit(cases: Sequence[tuple[float, int, int]]) -> CostModel:
    """Fit a cost model to (seconds, lesions, slices) of annotations."""
    return _fit(tuple(cases))
