"""The calcium table of a prediction: its scores and how sure the samples are of them."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.calcium.labels import ARTERIES
from app.calcium.risk import category_probabilities
from app.store.tables import Json

_PERCENTILES: Final = (5.0, 50.0, 95.0)

_DIGITS: Final = 4
"""Digits after the point; scores are not known better, and the table stays readable."""


def calcium_table(
    scores: Json,
    agatston_samples: Sequence[Sequence[float]],
    *,
    lesion_share: float | None = None,
    region_share: float | None = None,
) -> Json:
    """Return the table of a prediction with the distribution of its stochastic samples.

    Args:
        scores: Scores of the label map, as ``CalciumScores.to_json`` gives them.
        agatston_samples: Agatston score per sample and artery, shape (T, 4); may be empty.
        lesion_share: Share of the scores' variance that doubt about calcium brings about;
            None if too few samples were drawn to tell.
        region_share: Share that doubt about the artery regions brings about, or None.

    Returns:
        The scores, with ``distribution`` added when there are samples: median, 5th and 95th
        percentile of the total and of each artery, and the share of samples in each risk
        category. Where the samples differ, ``doubt`` says which label would help most; there
        is none where nothing varies, and all of it is None where that is unknown.
    """
    samples = np.asarray(agatston_samples, np.float64)
    if samples.size == 0:
        return dict(scores)
    total = samples.sum(axis=1)
    distribution = {
        "samples": len(samples),
        **_spread(total),
        "category_probabilities": category_probabilities(total),
        "arteries": {name: _spread(samples[:, at]) for at, name in enumerate(ARTERIES)},
    }
    table = {**scores, "distribution": distribution}
    doubt = doubt_by_head(lesion_share, region_share)
    return table if doubt is None else {**table, "doubt": doubt}


def doubt_by_head(lesion_share: float | None, region_share: float | None) -> Json | None:
    """Tell which label would help most: that of the head whose doubt moves the scores more.

    Args:
        lesion_share: Share of the scores' variance that doubt about calcium brings about;
            None if too few samples were drawn to tell.
        region_share: Share that doubt about the artery regions brings about, or None.

    Returns:
        The shares and the label, ``calcium`` or ``regions``; each None where the shares are
        unknown. None where nothing varies.
    """
    if lesion_share is None or region_share is None:
        return dict.fromkeys(("lesion_share", "region_share", "label_that_helps"))
    if not (lesion_share or region_share):
        return None
    return {
        "lesion_share": round(lesion_share, _DIGITS),
        "region_share": round(region_share, _DIGITS),
        "label_that_helps": "calcium" if lesion_share >= region_share else "regions",
    }


def _spread(values: NDArray[np.float64]) -> dict[str, float]:
    low, median, high = (
        round(float(value), _DIGITS) for value in np.percentile(values, _PERCENTILES)
    )
    return {"median": median, "p5": low, "p95": high}
