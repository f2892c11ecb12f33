"""A strategy: how it ranks, what it must be told, and what an annotator can set."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from strategies.base import Candidates, Options, Ranking

RANDOM_SHARE = "random_share"
"""Name of the option that every strategy has which ranks by a model."""


@dataclass(frozen=True)
class Option:
    """A number that an annotator can set.

    Attributes:
        default: Value where nothing is set; its type is the option's.
        lowest: Smallest value allowed.
        highest: Largest value allowed.
    """

    default: float
    lowest: float
    highest: float


QUOTA: dict[str, Option] = {RANDOM_SHARE: Option(0.2, 0.0, 1.0)}
"""Share of places filled by stratified random draws instead of by the ranking.

They reach what the model is confidently wrong about, and being drawn with known chances allow
an unbiased estimate over the pool.
"""


@dataclass(frozen=True)
class Strategy:
    """A way of choosing what to label.

    Attributes:
        description: One phrase for people.
        rank: Ranks a pool with values of all options; deterministic.
        options: What can be set.
        needs: Optional fields of ``Candidates`` that ``rank`` reads.
        shortlist: Picks the images worth being ranked, when the needed fields are costly to
            have of all; ``rank`` then gets these only.
        follows_service: Whether the ranking changes with every image that is served.
    """

    description: str
    rank: Callable[[Candidates, Options], Ranking]
    options: Mapping[str, Option] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    shortlist: Callable[[Candidates], NDArray[np.int64]] | None = None
    follows_service: bool = False

    def read_options(self, given: Options | None = None) -> Options:
        """Return a value for every option: the given one, else its default.

        Raises:
            ValueError: If there is no such option or the value is not allowed.
        """
        values = {name: option.default for name, option in self.options.items()}
        for name, value in (given or {}).items():
            if name not in self.options:
                known = ", ".join(self.options) or "none"
                raise ValueError(f"expected an option out of {known}, got {name!r}")
            option = self.options[name]
            if not option.lowest <= value <= option.highest:
                bounds = f"{option.lowest:g} to {option.highest:g}"
                raise ValueError(f"expected {name} from {bounds}, got {value!r}")
            values[name] = value
        return values
