"""Labeled volumes as batches of slices, drawn by what they teach.

Most slices of a volume hold no calcium and nothing that could be mistaken for it. Slices
are therefore sorted into kinds once, and batches take a fixed share of each kind.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from ..inputs import (
    AIR_HU,
    ContentBox,
    find_content,
    network_input,
    padded_size,
    position_planes,
    take_slab,
)
from ..network import NetworkConfig
from .augmentation import (
    METAL_HU,
    NO_AUGMENTATION,
    AugmentationConfig,
    PlantedCalcium,
    disturb_attenuation,
    draw_calcium,
    draw_grid,
    draw_metal,
)

_REACH_MM = 15.0
"""Candidates this near to an artery region are hard to tell from its calcium."""

_REPEAT_LIMIT = 5.0
"""A slice is drawn at most this many times as often as without kinds, lest the few of a
rare kind are learned by heart."""


_CLEAR_STREAK_HU = 20.0
"""A streak this high makes a candidate by itself, where there was none."""


class SliceKind(IntEnum):
    """What a slice can teach, the most telling kind first."""

    CALCIUM = 0
    DISTRACTOR = 1
    REGION = 2
    EMPTY = 3


@dataclass(frozen=True, eq=False)
class TrainingCase:
    """One labeled volume in axial orientation.

    Attributes:
        hu: Hounsfield units, shape (Z, Y, X); a memory map is read slice by slice.
        region: Artery of each voxel, 0 background, 1 LM, 2 LAD, 3 LCX, 4 RCA, calcium
            included; None when the label does not cover regions.
        lesion: Calcified voxels, above 0; None when the label does not cover calcium.
        spacing_mm: Distance between voxel centres along (Z, Y, X).
        threshold_hu: Voxels at or above it are candidates.
        case_id: Name of the volume, for messages.
        is_new: Whether no earlier training has seen the case; it is then drawn twice as
            often in the first third of a training.
    """

    hu: NDArray[np.int16]
    region: NDArray[np.uint8] | None
    lesion: NDArray[np.uint8] | None
    spacing_mm: tuple[float, float, float]
    threshold_hu: int
    case_id: str
    is_new: bool = False

    def __post_init__(self) -> None:
        """Refuse labels that do not fit the volume."""
        for name, label in (("region", self.region), ("lesion", self.lesion)):
            if label is not None and label.shape != self.hu.shape:
                raise ValueError(
                    f"{name} of {self.case_id} must have shape {self.hu.shape}, got {label.shape}"
                )

    def label(self, task: str) -> NDArray[np.uint8] | None:
        """Return the label map of a task; None when the case has none."""
        return {"region": self.region, "lesion": self.lesion}.get(task)

    @cached_property
    def content(self) -> ContentBox:
        """Box outside which all is air."""
        return find_content(self.hu)

    @cached_property
    def slice_kinds(self) -> NDArray[np.uint8]:
        """``SliceKind`` of each slice, shape (Z,)."""
        kinds = [self._slice_kind(index) for index in range(self.hu.shape[0])]
        return np.array(kinds, dtype=np.uint8)

    def _slice_kind(self, index: int) -> SliceKind:
        candidates = self.hu[index] >= self.threshold_hu
        if self.lesion is not None and (candidates & (self.lesion[index] > 0)).any():
            return SliceKind.CALCIUM
        if self.region is None:
            return SliceKind.DISTRACTOR if candidates.any() else SliceKind.EMPTY
        region = self.region[index] > 0
        if not region.any():
            return SliceKind.EMPTY
        near = ndimage.maximum_filter(region, size=self._reach_pixels)
        return SliceKind.DISTRACTOR if (candidates & near).any() else SliceKind.REGION

    @property
    def _reach_pixels(self) -> tuple[int, int]:
        return 2 * int(_REACH_MM / self.spacing_mm[1]) + 1, 2 * int(
            _REACH_MM / self.spacing_mm[2]
        ) + 1


@dataclass(frozen=True)
class SamplingConfig:
    """Which slices a batch is made of.

    Attributes:
        shares: Share of each ``SliceKind``; less for kinds that few slices belong to.
        patch_size: Side of the square patches taken from larger slices; None takes whole
            slices.
        augmentation: Largest changes of a slice.
    """

    shares: tuple[float, float, float, float] = (0.45, 0.3, 0.2, 0.05)
    patch_size: int | None = None
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)


@dataclass(frozen=True)
class Batch:
    """Slices with their labels.

    Attributes:
        inputs: Shape (N, C, Y, X), see ``network_input``.
        targets: Classes by task, shape (N, Y, X), int64.
        weights: 1 where a voxel counts, by task, shape (N, Y, X), float32.
    """

    inputs: Tensor
    targets: Mapping[str, Tensor]
    weights: Mapping[str, Tensor]

    def __len__(self) -> int:
        """Return the number of slices."""
        return len(self.inputs)

    def to(self, device: torch.device) -> "Batch":
        """Move the batch to a device."""
        return self._each(lambda tensor: tensor.to(device))

    def part(self, rows: slice) -> "Batch":
        """Return some of the slices."""
        return self._each(lambda tensor: tensor[rows])

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        return Batch(
            change(self.inputs),
            {name: change(tensor) for name, tensor in self.targets.items()},
            {name: change(tensor) for name, tensor in self.weights.items()},
        )


@dataclass(frozen=True)
class Item:
    """One slice of one case."""

    case: TrainingCase
    index: int


class SliceSampler:
    """Draw slices by kind."""

    def __init__(self, cases: Sequence[TrainingCase], shares: Sequence[float]) -> None:
        """Sort the slices of all cases into kinds.

        Raises:
            ValueError: If there is no slice of a kind with a share above zero.
        """
        self._items: list[list[Item]] = [[] for _ in SliceKind]
        for case in cases:
            for index, kind in enumerate(case.slice_kinds):
                self._items[kind].append(Item(case, index))
        sizes = np.array([len(items) for items in self._items])
        wanted = np.minimum(shares, _REPEAT_LIMIT * sizes / max(sizes.sum(), 1))
        if wanted.sum() <= 0.0:
            raise ValueError("no case has a slice of a kind to sample")
        self._chances = wanted / wanted.sum()

    def draw(self, count: int, rng: np.random.Generator) -> list[Item]:
        """Draw ``count`` slices, first the kind, then the slice."""
        kinds = rng.choice(len(SliceKind), size=count, p=self._chances)
        return [self._items[kind][rng.integers(len(self._items[kind]))] for kind in kinds]


def telling_items(cases: Sequence[TrainingCase]) -> list[Item]:
    """List the slices of all kinds but the empty one."""
    return [
        Item(case, int(index))
        for case in cases
        for index in np.flatnonzero(case.slice_kinds != SliceKind.EMPTY)
    ]


def patch_size(
    cases: list[TrainingCase], sampling: SamplingConfig, multiple: int
) -> tuple[int, int]:
    """Return the patch size asked for, or one that holds the largest case, padded."""
    if sampling.patch_size is not None:
        return padded_size((sampling.patch_size, sampling.patch_size), multiple)
    heights, widths = zip(*(case.content.size for case in cases), strict=True)
    return padded_size((max(heights), max(widths)), multiple)


def make_batch(
    items: Sequence[Item],
    size: tuple[int, int],
    config: NetworkConfig,
    augmentation: AugmentationConfig = NO_AUGMENTATION,
    rng: np.random.Generator | None = None,
) -> Batch:
    """Cut equal patches out of slices and stack them.

    Args:
        items: Slices.
        size: Height and width of the patches; smaller content is padded with air.
        config: Shape of the network.
        augmentation: Largest changes.
        rng: Source of randomness; None takes the first patch of each slice, unchanged.
    """
    patches = [_cut_patch(item, size, config, augmentation, rng) for item in items]
    candidates = np.stack([patch.candidates for patch in patches])
    slabs = np.stack([patch.slab for patch in patches])
    targets, weights = {}, {}
    for task in config.tasks:
        targets[task.name] = torch.from_numpy(
            np.stack([patch.targets[task.name] for patch in patches])
        ).long()
        weights[task.name] = torch.from_numpy(
            np.stack([patch.weights[task.name] for patch in patches])
        ).float()
    positions = np.stack([patch.position for patch in patches])
    return Batch(network_input(slabs, candidates, config, positions), targets, weights)


@dataclass(frozen=True)
class _Patch:
    slab: NDArray[np.float32]
    position: NDArray[np.float32]
    candidates: NDArray[np.bool_]
    targets: Mapping[str, NDArray[np.uint8]]
    weights: Mapping[str, NDArray[np.bool_]]


@dataclass(frozen=True)
class _Source:
    """Pixels of a slice by flat index; ``is_inside`` is False where there is only air."""

    index: NDArray[np.intp]
    is_inside: NDArray[np.bool_]
    corner: tuple[int, int]

    def take(self, plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
        taken: NDArray[np.uint8] = np.where(self.is_inside, plane.ravel()[self.index], 0)
        return taken

    def take_slab(self, slab: NDArray[np.int16]) -> NDArray[np.float32]:
        flat = slab.reshape(slab.shape[0], -1)[:, self.index]
        taken: NDArray[np.float32] = np.where(self.is_inside, flat, AIR_HU).astype(np.float32)
        return taken


def _cut_patch(
    item: Item,
    size: tuple[int, int],
    config: NetworkConfig,
    augmentation: AugmentationConfig,
    rng: np.random.Generator | None,
) -> _Patch:
    case = item.case
    source = _locate(item, size, augmentation, rng)
    first, last = case.content.planes
    planes = case.hu[first:last]
    slab = source.take_slab(take_slab(planes, item.index - first, config.neighbours))
    has_label = slab[config.neighbours] >= case.threshold_hu
    if rng is not None:
        slab = disturb_attenuation(slab, augmentation, rng)
    metal = None if rng is None else draw_metal(size, augmentation, rng)
    if metal is not None:
        slab = slab + metal
        # Streaks that reach the threshold are known not to be calcium.
        has_label |= metal > _CLEAR_STREAK_HU
    planted = None if rng is None else _draw_calcium(item, source, slab, augmentation, rng)
    if planted is not None and rng is not None:
        before, slab = slab[config.neighbours], planted.put_into(slab, rng)
        is_planted = slab[config.neighbours] > before
        has_label |= is_planted
    candidates = slab[config.neighbours] >= case.threshold_hu
    targets, weights = {}, {}
    for task in config.tasks:
        label = case.label(task.name)
        plane = np.zeros(size, np.uint8) if label is None else source.take(label[item.index])
        if task.is_restricted_to_candidates and metal is not None:
            plane = np.where(metal >= METAL_HU, 0, plane)
        if task.is_restricted_to_candidates and planted is not None:
            plane = np.where(is_planted & (plane == 0), np.uint8(planted.is_plaque), plane)
        targets[task.name] = np.minimum(plane, 1) if task.classes == 2 else plane
        # A voxel that noise lifted over the threshold has no label of its own.
        counts = candidates & has_label if task.is_restricted_to_candidates else np.ones(size, bool)
        weights[task.name] = counts & (label is not None)
    position = position_planes(item.index, source.corner, size, case.content)
    return _Patch(slab, position, candidates, targets, weights)


def _draw_calcium(
    item: Item,
    source: _Source,
    slab: NDArray[np.float32],
    augmentation: AugmentationConfig,
    rng: np.random.Generator,
) -> PlantedCalcium | None:
    """Draw calcium for a slice whose label tells regions and calcium."""
    case = item.case
    if case.region is None or case.lesion is None:
        return None
    region = source.take(case.region[item.index]) > 0
    middle = slab[slab.shape[0] // 2]
    return draw_calcium(region, middle, case.spacing_mm[1:], augmentation, rng)


def _locate(
    item: Item,
    size: tuple[int, int],
    augmentation: AugmentationConfig,
    rng: np.random.Generator | None,
) -> _Source:
    content = item.case.content
    if rng is None:
        first = (0, 0)
        rows, columns = (np.arange(size[0])[:, None], np.arange(size[1])[None, :])
    else:
        first = _draw_corner(item, size, rng)
        rows, columns = draw_grid(size, augmentation, rng)
    rows, columns = np.broadcast_arrays(rows + first[0], columns + first[1])
    height, width = content.size
    is_inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    full_rows = np.clip(rows, 0, height - 1) + content.rows[0]
    full_columns = np.clip(columns, 0, width - 1) + content.columns[0]
    return _Source(full_rows * item.case.hu.shape[2] + full_columns, is_inside, first)


def _draw_corner(item: Item, size: tuple[int, int], rng: np.random.Generator) -> tuple[int, int]:
    """Draw the first row and column of a patch of the content, around something telling."""
    content = item.case.content.size
    if content[0] <= size[0] and content[1] <= size[1]:
        return 0, 0
    focus = _draw_focus(item, rng)
    first = [
        rng.integers(max(place - part + 1, 0), max(min(place, whole - part), 0) + 1)
        for place, part, whole in zip(focus, size, content, strict=True)
    ]
    return int(first[0]), int(first[1])


def _draw_focus(item: Item, rng: np.random.Generator) -> tuple[int, int]:
    """Draw a pixel of the content: of calcium if there is any, else of a region, else any."""
    _, rows, columns = item.case.content.index
    labels = (item.case.lesion, item.case.region)
    for label in labels:
        if label is not None and (places := np.argwhere(label[item.index, rows, columns])).size:
            row, column = places[rng.integers(len(places))]
            return int(row), int(column)
    height, width = item.case.content.size
    return int(rng.integers(height)), int(rng.integers(width))
