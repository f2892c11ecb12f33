"""Strategies by name. A new one is a function and a line here; the contract tests find it."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from strategies.base import Strategy
from strategies.ranking import serve_uncertain
from strategies.sampling import serve_first, serve_random, serve_stratified

DEFAULT_STRATEGY = "uncertainty"
"""Strategy used where none is asked for."""


@dataclass(frozen=True)
class _Entry:
    strategy: Strategy
    description: str


_ENTRIES: Mapping[str, _Entry] = MappingProxyType(
    {
        "uncertainty": _Entry(
            serve_uncertain,
            "Images whose calcium score the model is least sure of, one in five drawn at random"
            " by predicted risk",
        ),
        "stratified": _Entry(
            serve_stratified, "Random, with the same chance for every predicted risk category"
        ),
        "random": _Entry(serve_random, "Random, with the same chance for every image"),
        "first": _Entry(serve_first, "The image that was not served for the longest time"),
    }
)


def strategy_names() -> tuple[str, ...]:
    """Return the names of all strategies, the default first."""
    return tuple(_ENTRIES)


def get_strategy(name: str) -> Strategy:
    """Return the strategy of that name.

    Raises:
        ValueError: If there is no such strategy.
    """
    return _entry(name).strategy


def strategy_description(name: str) -> str:
    """Say in one phrase what the strategy of that name serves.

    Raises:
        ValueError: If there is no such strategy.
    """
    return _entry(name).description


def _entry(name: str) -> _Entry:
    if name not in _ENTRIES:
        raise ValueError(f"expected a strategy out of {', '.join(_ENTRIES)}, got {name!r}")
    return _ENTRIES[name]
