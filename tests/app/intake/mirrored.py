"""What a mirror of the pool tells strategies, in a form to compare."""

from dataclasses import fields
from typing import Any

import numpy as np

from app.intake.pool_mirror import Pool
from strategies.base import Candidates


def facts(pool: Pool) -> dict[str, Any]:
    """Everything a strategy could see, by image; patients as the set that shares the number."""
    arrays = {field.name: getattr(pool.candidates, field.name) for field in fields(Candidates)}
    patient, step = arrays.pop("patient"), arrays.pop("step")
    ids = pool.images.ids
    shared = {n: sorted(i for i, m in zip(ids, patient, strict=True) if m == n) for n in patient}
    known = {
        name: np.nan_to_num(np.asarray(array, np.float64), nan=-1.0).tolist()
        for name, array in arrays.items()
        if array is not None
    }
    return {
        "ids": ids,
        "open": [ids[place] for place in np.flatnonzero(pool.is_open)],
        "batch": [ids[place] for place in pool.batch],
        "labeled": [ids[place] for place in np.flatnonzero(pool.is_labeled)],
        "served": pool.last_served.tolist(),
        "predictions": pool.images.prediction.tolist(),
        "patient": [shared[number] for number in patient],
        "step": step,
        **known,
    }
