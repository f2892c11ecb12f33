"""The label contract: names and values of every label map, everywhere.

Calcium wins over region in a label map, so the region of an artery is the union of its
region and calcium voxels.
"""

from typing import Final

ARTERIES: Final = ("LM", "LAD", "LCX", "RCA")
"""Coronary arteries in canonical order: left main, anterior descending, circumflex, right."""

CALCIUM_LABELS: Final[dict[str, int]] = {"LM": 1, "LAD": 2, "LCX": 3, "RCA": 4}
"""Value of the calcified voxels of each artery (strong labels)."""

REGION_LABELS: Final[dict[str, int]] = {
    "LM_region": 5,
    "LAD_region": 6,
    "LCX_region": 7,
    "RCA_region": 8,
}
"""Value of the surroundings of each artery (weak labels)."""

LABELS: Final[dict[str, int]] = CALCIUM_LABELS | REGION_LABELS
"""All canonical names with their values, contiguous from 1; background is 0 and has no name."""
