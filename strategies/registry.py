"""Strategies by name. A new one is a function and a line here; the contract tests find it."""

from collections.abc import Mapping
from types import MappingProxyType

from strategies.measured import rank_uncertain
from strategies.sampling import rank_first, rank_nothing, rank_random
from strategies.strategy import QUOTA, Strategy

DEFAULT_STRATEGY = "uncertainty"
"""Strategy used where none is asked for."""

_STRATEGIES: Mapping[str, Strategy] = MappingProxyType(
    {
        "uncertainty": Strategy(
            "Images whose calcium score the model is least sure of, one in five drawn at random"
            " by predicted risk",
            rank_uncertain,
            QUOTA,
        ),
        "stratified": Strategy(
            "Random, with the same chance for every predicted risk category",
            rank_nothing,
        ),
        "random": Strategy("Random, with the same chance for every image", rank_random),
        "first": Strategy(
            "The image that was not served for the longest time", rank_first, follows_service=True
        ),
    }
)


def strategy_names() -> tuple[str, ...]:
    """Return the names of all strategies, the default first."""
    return tuple(sorted(_STRATEGIES, key=lambda name: name != DEFAULT_STRATEGY))


def get_strategy(name: str) -> Strategy:
    """Return the strategy of that name.

    Raises:
        ValueError: If there is no such strategy.
    """
    if name not in _STRATEGIES:
        raise ValueError(f"expected a strategy out of {', '.join(strategy_names())}, got {name!r}")
    return _STRATEGIES[name]
