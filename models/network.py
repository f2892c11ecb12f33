"""Multi-task network: one shared encoder, one head per task, heads may feed other heads.

The published calcium network is the composition of ``paper_network``: two input channels
(attenuation and candidate mask), a region decoder whose features feed the lesion decoder at
every level, and a lesion output limited to candidates (Foellmer et al. 2022,
https://doi.org/10.1002/mp.15870). Two points differ on purpose: the left main artery is a
class of its own, and corners are not aligned in the upsampling (see ``heads.upsample``).

A pass can stop between two levels. What was computed until then is a ``DecoderState``: it
can be cropped, and decoded further many times under different dropout masks.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from .dropout import DropoutSite, Masks, apply_mask
from .encoders import Encoder
from .heads import SegmentationHead, StageShape, upsample
from .tasks import LESION, REGION, TaskSpec, check_tasks

BOTTLENECK = "bottleneck"
"""Name of the dropout site at the end of the encoder."""

_IMPOSSIBLE_LOGIT = -1e4
"""Foreground logit outside candidates: probability exactly 0, gradients finite."""


@dataclass(frozen=True)
class NetworkConfig:
    """Shape of a network.

    Attributes:
        widths: Channels after each halving of the resolution.
        tasks: Heads in the order they run.
        hu_windows: Attenuation ranges in HU, each scaled to 0..1 as one channel per slice.
        neighbours: Slices above and below that are shown with each slice.
        has_position: Whether three more channels tell where in the volume a pixel lies,
            see ``inputs.position_planes``; regions are then learned from fewer steps.
        stem_width: Channels at full resolution.
        stem_kernel: Side of the stem's convolutions in pixels, odd.
        stem_convs: Number of the stem's convolutions.
        stage_convs: Convolutions in each decoder stage.
        detail: How the stage at full resolution puts its inputs together: ``join``
            concatenates them, ``add`` is several times faster, see ``heads.AddStage``.
        head_width: Channels before the last convolution of a head.
        bottleneck_dropout: Chance of a bottleneck channel to be dropped.
        stage_dropout: Chance of a channel at the inputs of the last stages to be dropped.
        dropout_stages: Number of last stages of each head with dropout at their input.
        sampled_stages: Number of last stages of each head whose dropout stays active in the
            samples of a prediction; all other dropout is for training only.
    """

    widths: tuple[int, ...]
    tasks: tuple[TaskSpec, ...] = (REGION, LESION)
    hu_windows: tuple[tuple[float, float], ...] = ((-2000.0, 1300.0),)
    neighbours: int = 0
    has_position: bool = False
    stem_width: int = 16
    stem_kernel: int = 5
    stem_convs: int = 2
    stage_convs: int = 2
    detail: Literal["join", "add"] = "join"
    head_width: int = 16
    bottleneck_dropout: float = 0.5
    stage_dropout: float = 0.1
    dropout_stages: int = 2
    sampled_stages: int = 1

    def __post_init__(self) -> None:
        """Refuse a shape that no network can be built for."""
        check_tasks(self.tasks)
        if not self.widths or not self.hu_windows:
            raise ValueError("a network needs at least one stage and one HU window")
        if any(task.stop_level >= self.levels for task in self.tasks):
            raise ValueError(f"stop_level must be below the {self.levels} levels of the network")

    @property
    def levels(self) -> int:
        """Number of halvings of the resolution."""
        return len(self.widths)

    @property
    def multiple(self) -> int:
        """Number that the height and width of an input must be multiples of."""
        return 1 << self.levels

    @property
    def in_channels(self) -> int:
        """Channels of the input: HU windows of every slice shown, position, candidates."""
        position = 3 if self.has_position else 0
        return len(self.hu_windows) * (2 * self.neighbours + 1) + position + 1

    def width(self, level: int) -> int:
        """Return the number of channels at ``level``."""
        return self.stem_width if level == 0 else self.widths[level - 1]

    def task(self, name: str) -> TaskSpec:
        """Return the task called ``name``."""
        for task in self.tasks:
            if task.name == name:
                return task
        raise ValueError(f"no task {name!r}; known: {[task.name for task in self.tasks]}")

    def dropout_sites(self) -> tuple[DropoutSite, ...]:
        """List the places where channels are dropped in training, coarsest first."""
        bottleneck = DropoutSite(BOTTLENECK, self.widths[-1], self.bottleneck_dropout, self.levels)
        stages = [
            DropoutSite(
                site_name(task, level), self.joined_width(task, level), self.stage_dropout, level
            )
            for level in reversed(range(self.levels))
            for task in self.tasks
            if task.stop_level <= level < task.stop_level + self.dropout_stages
        ]
        return (bottleneck, *stages)

    def sampled_sites(self) -> tuple[DropoutSite, ...]:
        """List the places where channels are dropped in samples of a prediction as well."""
        sampled = {
            site_name(task, task.stop_level + stage)
            for task in self.tasks
            for stage in range(self.sampled_stages)
        }
        return tuple(
            site for site in self.dropout_sites() if site.name in sampled and site.probability > 0.0
        )

    def joined_width(self, task: TaskSpec, level: int) -> int:
        """Return the channels a stage reads, without the raw input: below, skip and fed ones."""
        fed = sum(self.width(max(level, self.task(name).stop_level)) for name in task.fed_by)
        return self.width(level + 1) + self.width(level) + fed

    def stage_shapes(self, task: TaskSpec) -> dict[int, StageShape]:
        """Return the shape of every stage of a head, coarsest first."""
        return {
            level: self._stage_shape(task, level)
            for level in reversed(range(task.stop_level, self.levels))
        }

    def _stage_shape(self, task: TaskSpec, level: int) -> StageShape:
        coarse_fed = [name for name in task.fed_by if self.task(name).stop_level > level]
        coarse = self.width(level + 1) + sum(
            self.width(self.task(name).stop_level) for name in coarse_fed
        )
        joined = self.joined_width(task, level)
        return StageShape(
            coarse=coarse,
            fine=joined - coarse + self.raw_width(task, level),
            out=self.width(level),
            convs=self.stage_convs,
            is_adding=self.detail == "add" and level == 0,
        )

    def raw_width(self, task: TaskSpec, level: int) -> int:
        """Return the raw input channels that the stage of ``level`` reads as well."""
        return self.in_channels if task.sees_input and level == 0 else 0


def site_name(task: TaskSpec, level: int) -> str:
    """Name the dropout site at the input of a stage."""
    return f"{task.name}.{level}"


def paper_network() -> NetworkConfig:
    """Return the published network's shape: eight halvings, for 512 x 512 slices."""
    return NetworkConfig(widths=(16, 32, 32, 64, 64, 64, 128, 128))


def small_network() -> NetworkConfig:
    """Return a shape that trains on a processor within minutes, for slices of 128 x 128."""
    return NetworkConfig(
        widths=(16, 32, 64, 96, 128),
        tasks=(replace(REGION, stop_level=1), LESION),
        hu_windows=((-1000.0, 1000.0), (-200.0, 300.0)),
        neighbours=1,
        has_position=True,
        stem_width=8,
        stem_kernel=3,
        stem_convs=1,
        stage_convs=1,
        detail="add",
        head_width=8,
        bottleneck_dropout=0.1,
        stage_dropout=0.05,
    )


@dataclass(frozen=True)
class DecoderState:
    """What a pass has computed down to ``level``.

    Attributes:
        inputs: Input of the network, shape (N, C, Y, X).
        features: Encoder features by level, shape (N, C', Y / 2**level, X / 2**level).
        decoded: Decoder features by task and level.
        level: Level the heads were decoded to; ``len(features) - 1`` before any stage.
    """

    inputs: Tensor
    features: tuple[Tensor, ...]
    decoded: Mapping[tuple[str, int], Tensor]
    level: int

    def select(self, index: int) -> "DecoderState":
        """Take one item of the batch."""
        return self._map(lambda tensor, _: tensor[index : index + 1])

    def crop(self, rows: tuple[int, int], columns: tuple[int, int], grid: int) -> "DecoderState":
        """Crop to a box given by half-open ranges of full-resolution pixels.

        Args:
            rows: First row and the row after the last.
            columns: First column and the column after the last.
            grid: Coarsest level that is still needed; coarser features are dropped.

        Raises:
            ValueError: If the box does not lie on the pixels of level ``grid``.
        """
        if any(edge % (1 << grid) for edge in (*rows, *columns)):
            raise ValueError(f"box {rows} x {columns} must lie on multiples of {1 << grid}")

        def cut(tensor: Tensor, level: int) -> Tensor:
            if level > grid:
                return tensor[:, :, :0, :0]
            box_rows, box_columns = (
                slice(first >> level, last >> level) for first, last in (rows, columns)
            )
            return tensor[:, :, box_rows, box_columns]

        return self._map(cut)

    def _map(self, change: Callable[[Tensor, int], Tensor]) -> "DecoderState":
        return DecoderState(
            change(self.inputs, 0),
            tuple(change(tensor, level) for level, tensor in enumerate(self.features)),
            {key: change(tensor, key[1]) for key, tensor in self.decoded.items()},
            self.level,
        )


class MultiTaskNetwork(nn.Module):
    """A shared encoder and one head per task."""

    def __init__(self, config: NetworkConfig) -> None:
        """Build the network with PyTorch's default initialisation."""
        super().__init__()
        self.config = config
        self.encoder = Encoder(
            config.in_channels,
            stem_width=config.stem_width,
            stem_kernel=config.stem_kernel,
            stem_convs=config.stem_convs,
            widths=config.widths,
        )
        self.heads = nn.ModuleDict({task.name: _make_head(config, task) for task in config.tasks})

    def forward(self, inputs: Tensor, masks: Masks | None = None) -> dict[str, Tensor]:
        """Return the logits of every task.

        Args:
            inputs: Shape (N, C, Y, X), see ``inputs.network_input``; the last channel is
                the candidate mask. Y and X are multiples of ``config.multiple``.
            masks: Dropout masks, see ``dropout``; without them nothing is dropped.

        Returns:
            Logits by task name, shape (N, classes, Y, X).
        """
        return self.logits(self.decode(self.encode(inputs), masks=masks))

    def encode(self, inputs: Tensor) -> DecoderState:
        """Run the encoder, which has no dropout inside.

        Raises:
            ValueError: If the height or width is not a multiple of ``config.multiple``.
        """
        if any(side % self.config.multiple for side in inputs.shape[2:]):
            raise ValueError(
                f"sides must be multiples of {self.config.multiple}, got {tuple(inputs.shape[2:])}"
            )
        return DecoderState(inputs, tuple(self.encoder(inputs)), {}, self.config.levels)

    def decode(
        self, state: DecoderState, *, until: int = 0, masks: Masks | None = None
    ) -> DecoderState:
        """Run the stages of all heads from the state's level down to level ``until``."""
        decoded = dict(state.decoded)
        for level in reversed(range(until, state.level)):
            for task in self.config.tasks:
                if level >= task.stop_level:
                    decoded[task.name, level] = self._run_stage(task, level, state, decoded, masks)
        return replace(state, decoded=decoded, level=min(until, state.level))

    def logits(self, state: DecoderState) -> dict[str, Tensor]:
        """Turn a fully decoded state into logits by task."""
        return {task.name: self._task_logits(task, state) for task in self.config.tasks}

    def coarse_logits(self, state: DecoderState, name: str) -> list[Tensor]:
        """Return what the stages before the last of a task's head say, for training only.

        Places are learned several times faster when coarse stages are told what is where.

        Returns:
            Logits of shape (N, classes, Y / 2**level, X / 2**level), coarsest first.
        """
        levels = reversed(range(self.config.task(name).stop_level + 1, self.config.levels))
        head = self._head(name)
        return [head.coarse_logits(level, state.decoded[name, level]) for level in levels]

    def _run_stage(
        self,
        task: TaskSpec,
        level: int,
        state: DecoderState,
        decoded: Mapping[tuple[str, int], Tensor],
        masks: Masks | None,
    ) -> Tensor:
        below = (
            apply_mask([state.features[-1]], masks, BOTTLENECK)[0]
            if level == self.config.levels - 1
            else decoded[task.name, level + 1]
        )
        fed = [decoded[name, max(level, self.config.task(name).stop_level)] for name in task.fed_by]
        parts = [below, state.features[level], *fed]
        parts = apply_mask(parts, masks, site_name(task, level))
        if self.config.raw_width(task, level):
            parts.append(state.inputs)
        return self._head(task.name).run_stage(level, parts)

    def _task_logits(self, task: TaskSpec, state: DecoderState) -> Tensor:
        logits = self._head(task.name).logits(state.decoded[task.name, task.stop_level])
        if task.stop_level:
            logits = upsample(logits, 1 << task.stop_level)
        if task.is_restricted_to_candidates:
            logits = restrict_to_candidates(logits, state.inputs[:, -1:])
        return logits

    def _head(self, name: str) -> SegmentationHead:
        head = self.heads[name]
        assert isinstance(head, SegmentationHead)  # noqa: S101 - narrows ModuleDict's type
        return head


def restrict_to_candidates(logits: Tensor, candidates: Tensor) -> Tensor:
    """Make every foreground class impossible outside the candidates.

    Args:
        logits: Shape (N, C, Y, X); class 0 is the background.
        candidates: Shape (N or 1, 1, Y, X), above 0.5 at candidates.
    """
    foreground = logits[:, 1:].masked_fill(candidates <= 0.5, _IMPOSSIBLE_LOGIT)
    background = logits[:, :1].masked_fill(candidates <= 0.5, 0.0)
    return torch.cat([background, foreground], dim=1)


def _make_head(config: NetworkConfig, task: TaskSpec) -> SegmentationHead:
    return SegmentationHead(config.stage_shapes(task), config.head_width, task.classes)
