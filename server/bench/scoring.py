"""How long the calcium table of one volume takes."""

import numpy as np

from app.calcium.phantom import phantom_patient
from app.calcium.score import calcium_scores
from server.bench.figures import Section, latency, time_calls
from server.bench.scale import Scale

_SLICES = 57
"""Slices of a typical calcium scan; 512x512x57 are the numbers of the design."""

_RUNS = 7


def measure(scale: Scale) -> Section:
    """Score one synthetic patient several times."""
    scale.narrator.progress("making a large synthetic patient")
    phantom = phantom_patient(1, 4, (scale.side, scale.side, _SLICES))
    volume = phantom.volume

    def score() -> object:
        return calcium_scores(
            volume.hu, phantom.labels, spacing_mm=volume.spacing_mm, kvp=volume.kvp
        )

    labeled = int(np.count_nonzero((phantom.labels > 0) & (phantom.labels <= 4)))
    size = f"{scale.side}x{scale.side}x{_SLICES}"
    return Section(
        "scoring",
        "Calcium scoring",
        f"One synthetic patient of {size} voxels with {labeled} calcium voxels, one thread.",
        latency("Agatston, volume, mass and lesions", time_calls(score, _RUNS)),
    )
