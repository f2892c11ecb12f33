"""How sure a network must be to call a candidate a lesion: a fact of its checkpoint.

A network is trained on slices chosen for what they teach. Calcium is many times more frequent
in them than in a patient, so a probability of one half is not yet a reason to call a candidate
calcium. How far above it the decision lies is chosen on patients the network has not seen, see
``training.operating_point``.
"""

import math
from collections.abc import Mapping
from typing import Final

import torch

from .checkpoint import JsonValue
from .network import MultiTaskNetwork

LESION_MARGIN: Final = "lesion_margin"
"""Fact on a checkpoint's card: log odds from which on a candidate is a lesion; 0 if missing."""

_OUTPUT_BIAS: Final = "heads.lesion.output.1.bias"
"""The last bias of the lesion head, shape (2,): background and lesion."""


@torch.no_grad()
def move_decision(network: MultiTaskNetwork, facts: Mapping[str, JsonValue]) -> None:
    """Lower the lesion's log odds by the margin on the card, so that the decision is at zero.

    All that is read off the network then follows the same rule: the deterministic pass, every
    sample, and the uncertainty, which is greatest where the decision is. The weights on disk
    stay as they were trained, for a training to begin with.

    Raises:
        ValueError: If the margin on the card is not a finite number.
    """
    margin = facts.get(LESION_MARGIN, 0.0)
    if not isinstance(margin, int | float) or not math.isfinite(margin):
        raise ValueError(f"{LESION_MARGIN} on a card must be a finite number, got {margin!r}")
    network.get_parameter(_OUTPUT_BIAS)[1] -= margin
