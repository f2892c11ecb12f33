"""Strategies by name. A new one is a function and a line here; the contract tests find it."""

from collections.abc import Mapping
from types import MappingProxyType

from strategies.cost import COST_OPTIONS, rank_by_cost
from strategies.diversity import TYPICAL_OPTIONS, rank_diverse, spread_out
from strategies.ensemble import VERSION_OPTIONS, rank_ensemble
from strategies.joint import NOISE_OPTIONS, rank_joint, widest_spread
from strategies.measured import rank_bald, rank_entropy, rank_uncertain
from strategies.power import BETA_OPTIONS, CLASS_SHARE, rank_clasp, rank_power
from strategies.sampling import rank_first, rank_nothing, rank_random
from strategies.strategy import QUOTA, Strategy

DEFAULT_STRATEGY = "uncertainty"
"""Strategy used where none is asked for."""

_STRATEGIES: Mapping[str, Strategy] = MappingProxyType(
    {
        "uncertainty": Strategy(
            "Images whose calcium score the model is least sure of", rank_uncertain, QUOTA
        ),
        "entropy": Strategy(
            "Images whose candidate voxels the model finds most ambiguous",
            rank_entropy,
            QUOTA,
            needs=("entropy",),
        ),
        "bald": Strategy(
            "Images whose candidate voxels the samples of the model disagree about",
            rank_bald,
            QUOTA,
            needs=("bald",),
        ),
        "power": Strategy(
            "Uncertain images with noise that falls from training to training",
            rank_power,
            QUOTA | BETA_OPTIONS,
        ),
        "clasp": Strategy(
            "Ambiguous images with falling noise, two thirds of them by artery in turn",
            rank_clasp,
            QUOTA | BETA_OPTIONS | CLASS_SHARE,
            needs=("entropy", "artery_entropy"),
        ),
        "batch": Strategy(
            "Images that together tell most about the calcium scores of all",
            rank_joint,
            QUOTA | NOISE_OPTIONS,
            needs=("log_agatston",),
            shortlist=widest_spread,
        ),
        "cost_aware": Strategy(
            "Images with the most uncertainty per second that annotating will take",
            rank_by_cost,
            QUOTA | COST_OPTIONS,
            needs=("expected_seconds",),
        ),
        "ensemble": Strategy(
            "Images that the last model versions disagree about",
            rank_ensemble,
            QUOTA | VERSION_OPTIONS,
            needs=("version_agatston", "version_clinical_uncertainty"),
        ),
        "diversity": Strategy(
            "Typical images unlike those labeled so far, for a start with few labels",
            rank_diverse,
            QUOTA | TYPICAL_OPTIONS,
            needs=("embedding",),
            shortlist=spread_out,
        ),
        "stratified": Strategy(
            "Random, with the same chance for every predicted risk category", rank_nothing
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
