"""How often the comparison lets a version through that is better or worse by so much.

``python -m tests.app.promotion.power`` prints the table of docs/retraining.md.
"""

import sys

import numpy as np
from numpy.typing import NDArray

from app.promotion.bootstrap import paired_lower_bound
from app.promotion.gate import GatePolicy

_SENSITIVITY = 0.85
"""Share of the calcium volume that the version which answers finds in a middling patient."""

_ZERO_SHARE, _FALSE_SHARE, _FALSE_MM3 = 0.4, 0.1, 5.0
"""Patients without calcium, those of them in whom some is seen, and how much."""

CHANGES = (0.1, 0.05, 0.0, -0.05, -0.1, -0.2)
PATIENTS = (8, 14, 30, 60)


def promoted_share(patients: int, change: float, trials: int) -> float:
    """Return how often a version is promoted whose sensitivity differs by ``change``."""
    return float(np.mean([_is_promoted(patients, change, trial) for trial in range(trials)]))


def _is_promoted(patients: int, change: float, trial: int) -> bool:
    policy, rng = GatePolicy(), np.random.default_rng([patients, trial])
    volume_mm3 = rng.lognormal(3.5, 1.3, patients) * (rng.random(patients) > _ZERO_SHARE)
    # What makes a patient hard for both versions.
    ease = rng.normal(0, 0.12, patients)
    champion = _volumes(volume_mm3, _SENSITIVITY + ease, rng)
    challenger = _volumes(volume_mm3, _SENSITIVITY + change + ease, rng)
    bound = paired_lower_bound(champion, challenger, confidence=policy.confidence, rng=rng)
    return bound > -policy.margin


def _volumes(
    volume_mm3: NDArray[np.float64], sensitivity: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    count = volume_mm3.size
    found = np.clip(sensitivity + rng.normal(0, 0.08, count), 0, 1)
    invented = volume_mm3 * (1 - found) * rng.uniform(0.2, 1.2, count)
    invented += (volume_mm3 == 0) * (rng.random(count) < _FALSE_SHARE) * _FALSE_MM3
    return np.stack([volume_mm3 * found, invented, volume_mm3 * (1 - found)], axis=1)


def main() -> None:
    """Print the table."""
    heads = " | ".join(f"{change:+.2f}" for change in CHANGES)
    lines = [f"| patients | {heads} |", "|---:" * (len(CHANGES) + 1) + "|"]
    for patients in PATIENTS:
        shares = [promoted_share(patients, change, trials=400) for change in CHANGES]
        lines.append(f"| {patients} | " + " | ".join(f"{share:.0%}" for share in shares) + " |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
