"""Scoring rules: what one scanner maker, program or paper counts as a lesion.

The rules were read in published code and scored again on public scans. Where a source
multiplies by slice thickness / 3 mm, the slice increment stands for the thickness: the two
are equal for contiguous slices, and an overlap is then not counted twice.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from app.errors import InvalidInputError

Grouping = Literal["slice", "lesion"]
Peak = Literal["slice", "lesion"]
SizeUnit = Literal["mm2", "mm3", "voxels"]

AGATSTON_INCREMENT_MM: Final = 3.0
"""Slice increment that Agatston et al. 1990 defined the score for."""

_SIZE_TOLERANCE: Final = 1e-6
"""Relative tolerance of sizes: spacing read from direction vectors is off by rounding."""


@dataclass(frozen=True)
class MinimumSize:
    """Smallest group of voxels that counts as calcium.

    Attributes:
        value: Size in ``unit``.
        unit: ``mm2`` (area, for groups within a slice), ``mm3`` (volume) or ``voxels``.
        is_included: Whether a group of exactly this size counts.
        is_whole_voxels: Whether the size is rounded to a whole number of voxels first.
    """

    value: float = 0.0
    unit: SizeUnit = "voxels"
    is_included: bool = True
    is_whole_voxels: bool = False

    def smallest_voxel_count(self, *, spacing_mm: tuple[float, float, float]) -> float:
        """Return the bound on the voxel count of a group, already moved by the tolerance."""
        increment_mm, row_mm, column_mm = spacing_mm
        voxel_size = {
            "mm2": row_mm * column_mm,
            "mm3": increment_mm * row_mm * column_mm,
            "voxels": 1.0,
        }[self.unit]
        count = self.value / voxel_size
        if self.is_whole_voxels:
            count = round(count)
        slack = -_SIZE_TOLERANCE if self.is_included else _SIZE_TOLERANCE
        return count * (1 + slack)


@dataclass(frozen=True)
class ScoringRule:
    """How one source turns calcium voxels into an Agatston score.

    Attributes:
        name: Name by which the rule is chosen.
        source: Where the rule was read.
        planar_connectivity: Neighbours within a slice that join pixels, 4 or 8.
        spatial_connectivity: Neighbours that join voxels into a lesion, 6 or 26.
        grouping: Voxels that are gated by size together: those of a component of one
            ``slice``, or those of a 3-D ``lesion``.
        peak: Voxels whose highest attenuation gives the weight: those of the group within
            one ``slice``, or those of the whole ``lesion``.
        minimum: Smallest group that counts.
        is_threshold_included: Whether a voxel exactly at the threshold is a candidate.
        weight_bounds_hu: Peak attenuation where the weight becomes 2, 3 and 4.
        is_bound_included: Whether a peak exactly at a bound has the higher weight.
        is_scaled: Whether the score is multiplied by slice increment / 3 mm.
        voxel_decimals: Decimals to which the area of a voxel times the scale is rounded, or
            None.
        group_decimals: Decimals to which the score of each group is rounded, or None.
    """

    name: str
    source: str
    planar_connectivity: Literal[4, 8] = 8
    spatial_connectivity: Literal[6, 26] = 26
    grouping: Grouping = "slice"
    peak: Peak = "slice"
    minimum: MinimumSize = MinimumSize()
    is_threshold_included: bool = True
    weight_bounds_hu: tuple[float, float, float] = (200.0, 300.0, 400.0)
    is_bound_included: bool = True
    is_scaled: bool = True
    voxel_decimals: int | None = None
    group_decimals: int | None = None

    def unit_score(self, *, spacing_mm: tuple[float, float, float]) -> float:
        """Return the score of one voxel of weight 1."""
        increment_mm, row_mm, column_mm = spacing_mm
        scale = increment_mm / AGATSTON_INCREMENT_MM if self.is_scaled else 1.0
        score = row_mm * column_mm * scale
        return score if self.voxel_decimals is None else round(score, self.voxel_decimals)


DEFAULT_RULE: Final = "agatston"
"""Name of the rule used where none is asked for."""

_FQM: Final = (
    "setting of this maker in the phantom software of van Praagh et al. 2021, "
    "https://doi.org/10.1002/mp.14912, https://github.com/nwerf/FQM_Analysis"
)

_RULES: Final = (
    ScoringRule(
        name=DEFAULT_RULE,
        source="Agatston et al. 1990, https://doi.org/10.1016/0735-1097(90)90282-T",
        minimum=MinimumSize(1.0, "mm2"),
    ),
    ScoringRule(
        name="siemens",
        source=_FQM,
        planar_connectivity=4,
        spatial_connectivity=6,
    ),
    ScoringRule(
        name="philips",
        source=_FQM,
        planar_connectivity=4,
        spatial_connectivity=6,
        minimum=MinimumSize(0.5, "mm2", is_included=False),
    ),
    ScoringRule(
        name="canon",
        source=_FQM,
        planar_connectivity=4,
        spatial_connectivity=6,
        minimum=MinimumSize(3, "voxels", is_included=False),
    ),
    ScoringRule(
        name="ge",
        source=_FQM,
        planar_connectivity=4,
        spatial_connectivity=6,
        minimum=MinimumSize(1.0, "mm2", is_included=False),
    ),
    ScoringRule(
        name="cacslabeler",
        source="Berni1557/CACSLabeler, legacy module, https://github.com/Berni1557/CACSLabeler",
        planar_connectivity=4,
        spatial_connectivity=6,
    ),
    ScoringRule(
        name="qurai",
        source=(
            "van Velzen et al. 2020, https://github.com/sgmvanvelzen/calcium-scoring; lesions of "
            "at least 1.5 mm3, peak of the whole lesion in each slice"
        ),
        grouping="lesion",
        minimum=MinimumSize(1.5, "mm3"),
    ),
    ScoringRule(
        name="segment-cacs",
        source=(
            "Foellmer et al. 2024, https://github.com/Berni1557/SEGMENT-CACS with the slice "
            "factor of March 2026; peaks above 199, 299 and 399 HU gain weight"
        ),
        spatial_connectivity=6,
        grouping="lesion",
        weight_bounds_hu=(199.0, 299.0, 399.0),
        is_bound_included=False,
    ),
    ScoringRule(
        name="deepcac",
        source=(
            "Zeleznik et al. 2021, https://github.com/AIM-Harvard/DeepCAC; voxel volume / 3 mm "
            "rounded to three decimals"
        ),
        minimum=MinimumSize(3, "voxels", is_included=False),
        voxel_decimals=3,
    ),
    ScoringRule(
        name="ai-cac",
        source=(
            "Hagopian et al. 2025, https://github.com/Raffi-Hagopian/AI-CAC; one peak for the "
            "whole 3-D lesion, score of each lesion rounded"
        ),
        spatial_connectivity=6,
        grouping="lesion",
        peak="lesion",
        minimum=MinimumSize(1, "voxels", is_included=False),
        group_decimals=0,
    ),
    ScoringRule(
        name="slicer-gist",
        source=(
            "https://gist.github.com/lassoan/d85be45b7284a3b4e580688fccdb1d02; above the "
            "threshold, 1 mm2 rounded to pixels, no scaling by the slice increment"
        ),
        planar_connectivity=4,
        spatial_connectivity=6,
        minimum=MinimumSize(1.0, "mm2", is_whole_voxels=True),
        is_threshold_included=False,
        is_scaled=False,
    ),
)


def _by_name(rules: Iterable[ScoringRule]) -> MappingProxyType[str, ScoringRule]:
    """Index rules by their name."""
    return MappingProxyType({rule.name: rule for rule in rules})


_REGISTRY: Final = _by_name(_RULES)


def rule_names() -> tuple[str, ...]:
    """Return the names of all rules, the default first."""
    return tuple(_REGISTRY)


def get_rule(name: str) -> ScoringRule:
    """Return the rule of a name.

    Raises:
        InvalidInputError: If no rule has this name.
    """
    try:
        return _REGISTRY[name]
    except KeyError:
        known = ", ".join(rule_names())
        raise InvalidInputError(f"no scoring rule {name!r}; known: {known}") from None
