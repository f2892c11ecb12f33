"""Scoring rules: what one scanner maker, program or paper counts as a lesion."""

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
    """

    value: float = 0.0
    unit: SizeUnit = "voxels"
    is_included: bool = True

    def smallest_voxel_count(self, *, spacing_mm: tuple[float, float, float]) -> float:
        """Return the bound on the voxel count of a group, already moved by the tolerance."""
        increment_mm, row_mm, column_mm = spacing_mm
        voxel_size = {
            "mm2": row_mm * column_mm,
            "mm3": increment_mm * row_mm * column_mm,
            "voxels": 1.0,
        }[self.unit]
        slack = -_SIZE_TOLERANCE if self.is_included else _SIZE_TOLERANCE
        return self.value / voxel_size * (1 + slack)


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
        is_rounded: Whether the total is rounded to a whole number.
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
    is_rounded: bool = False


DEFAULT_RULE: Final = "agatston"
"""Name of the rule used where none is asked for."""

_RULES: Final = (
    ScoringRule(
        name=DEFAULT_RULE,
        source="Agatston et al. 1990, https://doi.org/10.1016/0735-1097(90)90282-T",
        minimum=MinimumSize(1.0, "mm2"),
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
