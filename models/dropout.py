"""Seeded channel masks: one mask per sample, shared by every slice and volume.

A network here holds no random module. Whoever runs it hands in the masks: the trainer a
new one for every slice, the predictor one per sample, and an ordinary pass none at all.
That keeps normalisation layers out of the randomness and makes each pass repeatable.

A posterior sample is one network, so all slices of a volume must see the same mask;
independent masks would make the errors of neighbouring slices look independent and shrink
the spread of the volume's score.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Masks = Mapping[str, Tensor]
"""Factor of every channel by site: shape (N, C) or (1, C), 0 or 1 / (1 - p)."""


@dataclass(frozen=True)
class DropoutSite:
    """A place in the network where whole channels can be dropped.

    Attributes:
        name: Name of the place, ``bottleneck`` or ``<task>.<level>``.
        channels: Number of channels there.
        probability: Chance of a channel to be dropped, in [0, 1).
        level: Resolution level of the place, 0 is full resolution.
    """

    name: str
    channels: int
    probability: float
    level: int

    def __post_init__(self) -> None:
        """Refuse a probability that would drop everything."""
        if not 0.0 <= self.probability < 1.0:
            raise ValueError(f"dropout must be in [0, 1), got {self.probability} at {self.name}")


def draw_masks(sites: tuple[DropoutSite, ...], count: int, generator: torch.Generator) -> Masks:
    """Draw channel masks for every site.

    Args:
        sites: Where channels may be dropped.
        count: Number of masks (samples, or items of a batch).
        generator: Source of randomness, on the CPU so that all devices see equal masks.

    Returns:
        Masks by site, each of shape (count, C), float32. Sites with probability 0 are
        left out: there is nothing random about them.
    """
    return {site.name: _draw(site, count, generator) for site in sites if site.probability > 0.0}


def seeded_masks(sites: tuple[DropoutSite, ...], samples: int, seed: int) -> Masks:
    """Draw the masks of ``samples`` posterior samples, the same for equal seeds.

    Sample t has the same mask however many samples are drawn: each sample has its own
    generator, so ten samples are the first ten of twenty.
    """
    drawn = [draw_masks(sites, 1, _sample_generator(seed, index)) for index in range(samples)]
    return {
        name: torch.cat([masks[name] for masks in drawn]) for name in (drawn[0] if drawn else {})
    }


def masks_of_head(masks: Masks, head: str, count: int) -> Masks:
    """Take the masks of the first ``count`` samples with those of all other heads off."""
    return {
        name: mask[:count] if name.startswith(f"{head}.") else torch.ones_like(mask[:count])
        for name, mask in masks.items()
    }


def join_masks(parts: Sequence[Masks]) -> Masks:
    """Put the samples of several sets of masks, all of the same sites, one after the other."""
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def apply_mask(parts: list[Tensor], masks: Masks | None, site: str) -> list[Tensor]:
    """Scale the channels of a site's features by its mask, if there is one.

    Args:
        parts: Features of the site in the order of its channels, each (N, C, Y, X); they
            can differ in resolution.
        masks: Masks by site.
        site: Name of the site.

    Returns:
        The parts, each of shape (N', C, Y, X), N' being the larger of the numbers of items
        and of masks.
    """
    mask = None if masks is None else masks.get(site)
    if mask is None:
        return parts
    factors = torch.split(mask.to(parts[0])[:, :, None, None], [part.shape[1] for part in parts], 1)
    return [part * factor for part, factor in zip(parts, factors, strict=True)]


def _draw(site: DropoutSite, count: int, generator: torch.Generator) -> Tensor:
    keep = 1.0 - site.probability
    uniform = torch.rand((count, site.channels), generator=generator)
    return (uniform < keep).float() / keep


_SAMPLE_STRIDE = 1_000_003
"""Prime distance between the seeds of two samples, so that nearby seeds share no sample."""


def _sample_generator(seed: int, index: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed * _SAMPLE_STRIDE + index)
