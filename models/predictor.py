"""Prediction of one volume, with T stochastic passes where they can matter.

The deterministic pass runs on every slice. The samples reuse what it computed before the
first dropout that is active in them, and are decoded only in patches around candidates
within reach of an artery, with a margin that leaves every value as it would be without it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from . import checkpoint
from .candidates import REACH_MM, group_into_patches, large_components, widen
from .dropout import Masks, join_masks, masks_of_head, seeded_masks
from .inputs import (
    AIR_HU,
    ContentBox,
    find_content,
    network_input,
    padded_size,
    position_planes,
    take_slab,
)
from .memory import MemoryShortageError, Shortage, attempt, room_on
from .network import DecoderState, MultiTaskNetwork, NetworkConfig
from .operating_point import move_decision
from .passes import DeterministicPass, make_pass, precision
from .tail import edge_reach, prefix_level, sample_at_points
from .uncertainty import BinaryStatistics, binary_entropy, class_entropy

_LESION_PROBABILITY = 0.5
"""A candidate at or above it is a lesion."""

_SURE = 0.01
"""Nearer to 0 or 1 than this, the deterministic pass stands for what is said of bone."""

_PIXELS_AT_ONCE = 1 << 18
"""Pixels of the slices in one batch of the deterministic pass."""


_Scalar = TypeVar("_Scalar", bound=np.generic)


@dataclass(frozen=True, eq=False)
class NetworkPrediction:
    """What a network says about a volume, shape (Z, Y, X).

    Attributes:
        region: Artery region of each voxel, 0 none, 1 LM, 2 LAD, 3 LCX, 4 RCA; never 0
            where ``lesion`` holds.
        lesion: Calcified voxels of the deterministic pass.
        candidate_index: Flat indices of the candidates within reach of a predicted region
            or lesion, ascending, shape (N,), int64.
        artery: Likeliest artery 1..4 of each of them, whether or not background is likelier
            still, shape (N,), uint8.
        artery_samples: Artery 1..4 of each of them if sample t calls it a lesion, else 0,
            shape (T, N), uint8.
        samples_by_head: The same by task with the dropout of that task's head alone, for the
            first T // 2 masks.
        mutual_information: Disagreement of the samples about each of them in nats, 0 to
            log 2, shape (N,), float32.
        entropy: Entropy of the mean prediction in nats, 0 to log 2, shape (N,), float32;
            of the deterministic pass when there is no sample.
        region_entropy: Mean entropy of the deterministic region prediction over voxels
            that touch another region, in nats; 0 when no region is predicted.
        embedding: Mean encoder feature of the volume, shape (D,), float32.
    """

    region: NDArray[np.uint8]
    lesion: NDArray[np.bool_]
    candidate_index: NDArray[np.int64]
    artery: NDArray[np.uint8]
    artery_samples: NDArray[np.uint8]
    samples_by_head: Mapping[str, NDArray[np.uint8]]
    mutual_information: NDArray[np.float32]
    entropy: NDArray[np.float32]
    region_entropy: float
    embedding: NDArray[np.float32]


class Predictor:
    """A trained network, ready to predict. Changes nothing about itself while predicting."""

    def __init__(self, path: Path, device: str = "cpu") -> None:
        """Load a checkpoint.

        Raises:
            ValueError: If the file is not a checkpoint, has no region and lesion task, or
                what its card says of how sure of a lesion to be is no finite number.
        """
        loaded = checkpoint.load(path)
        loaded.network.task("region"), loaded.network.task("lesion")
        network = MultiTaskNetwork(loaded.network)
        network.load_state_dict(dict(loaded.weights))
        move_decision(network, loaded.facts)
        self._device = torch.device(device)
        self._network = network.eval().requires_grad_(False)
        self._network.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # memory_format is missing in the stub
        self._pass = make_pass(self._network)
        self._room = room_on(device)

    @torch.inference_mode()
    def predict(
        self,
        hu: NDArray[np.int16],
        *,
        spacing_mm: tuple[float, float, float],
        threshold_hu: int,
        samples: int,
        seed: int,
        on_progress: Callable[[float], None] | None = None,
    ) -> NetworkPrediction:
        """Predict a volume in axial orientation.

        Args:
            hu: Hounsfield units, shape (Z, Y, X).
            spacing_mm: Distance between voxel centres along (Z, Y, X).
            threshold_hu: Voxels at or above it are candidates.
            samples: Number T of stochastic passes; 0 for the deterministic pass alone.
            seed: Seed of the dropout masks; use one for all volumes to be compared.
            on_progress: Told the finished fraction of the slices.

        Raises:
            ValueError: If ``hu`` is not a volume or ``samples`` is negative.
            MemoryShortageError: If the device has no memory for a single slice.
        """
        if hu.ndim != 3 or hu.size == 0 or samples < 0:
            raise ValueError(f"expected a volume and samples >= 0, got {hu.shape} and {samples}")
        content = find_content(hu)
        sampling = _Sampling(self._network.config, samples, seed)
        volume = _VolumePass(
            self._network, self._pass, hu[content.index], spacing_mm, threshold_hu, sampling
        )
        planes, height, width = content.shape
        done = 0
        while done < planes:
            count = self._room.fitting(_PIXELS_AT_ONCE) // (height * width)
            stop = min(done + max(1, count), planes)
            failed = self._run(volume, range(done, stop))
            if failed is None:
                done = stop
                if on_progress is not None:
                    on_progress(done / planes)
            elif stop - done > 1:
                self._room.note_shortage((stop - done) * height * width, failed)
            else:
                raise MemoryShortageError(f"no memory for one slice: {failed.problem}")
        return volume.collect(hu.shape, content)

    def _run(self, volume: "_VolumePass", indices: range) -> Shortage | None:
        """Predict some slices; what could not be had if there was no memory, and nothing done."""
        with precision(self._device):
            return attempt(partial(volume.run, indices))


class _Sampling:
    """The masks of T samples with both heads stochastic, then of T // 2 with each alone."""

    def __init__(self, config: NetworkConfig, samples: int, seed: int) -> None:
        self.samples = samples
        both = seeded_masks(config.sampled_sites(), samples, seed)
        single = [masks_of_head(both, task.name, samples // 2) for task in config.tasks]
        self.masks: Masks = join_masks([both, *single]) if both else {}
        self.heads = {
            task.name: slice(
                samples + place * (samples // 2), samples + (place + 1) * (samples // 2)
            )
            for place, task in enumerate(config.tasks)
        }

    @property
    def passes(self) -> int:
        """Number of passes of both kinds."""
        return max((rows.stop for rows in self.heads.values()), default=self.samples)


@dataclass(frozen=True, eq=False)
class _SlicePoints:
    """Candidates of a slice within reach and what all passes say about them."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    artery: NDArray[np.uint8]
    passes: NDArray[np.uint8]
    mutual_information: NDArray[np.float32]
    entropy: NDArray[np.float32]


class _VolumePass:
    """One pass over one volume, slices in ascending order."""

    def __init__(
        self,
        network: MultiTaskNetwork,
        run: DeterministicPass,
        hu: NDArray[np.int16],
        spacing_mm: tuple[float, float, float],
        threshold_hu: int,
        sampling: _Sampling,
    ) -> None:
        self._network = network
        self._pass = run
        self._device = next(network.parameters()).device
        self._hu = hu
        self._reach = int(REACH_MM / spacing_mm[1]), int(REACH_MM / spacing_mm[2])
        self._margin = edge_reach(network.config, prefix_level(network.config))
        self._candidates = hu >= threshold_hu
        self._is_large = large_components(self._candidates, spacing_mm)
        self._sampling = sampling
        self._region = np.zeros(hu.shape, np.uint8)
        self._lesion = np.zeros(hu.shape, np.bool_)
        self._points: list[_SlicePoints] = []
        self._boundary_entropy = _RunningMean()
        self._embedding = torch.zeros(network.config.widths[-1], dtype=torch.float64)

    def run(self, indices: range) -> None:
        """Predict some slices; one that fails half-way has changed nothing that counts."""
        prefix, logits = self._pass(self._inputs(indices))
        embedding = prefix.features[-1].mean(dim=(2, 3)).sum(dim=0).cpu().double()
        height, width = self._hu.shape[1:]
        region = logits["region"][:, :, :height, :width].float()
        lesion = logits["lesion"][:, :, :height, :width].float()
        entropy = self._keep_maps(indices, region, lesion)
        points = [
            self._sample(index, prefix.select(place), region[place], lesion[place])
            for place, index in enumerate(indices)
        ]
        self._embedding += embedding
        self._boundary_entropy.add(entropy)
        self._points += points

    def collect(self, shape: tuple[int, ...], content: ContentBox) -> NetworkPrediction:
        """Put the slices together, in the frame of the volume that content was cut from."""
        counts = [points.rows.size for points in self._points]
        slices = np.repeat(np.arange(len(counts)) + content.planes[0], counts)
        rows = np.concatenate([points.rows for points in self._points]) + content.rows[0]
        columns = np.concatenate([points.columns for points in self._points]) + content.columns[0]
        passes = np.concatenate([points.passes for points in self._points], axis=1)
        return NetworkPrediction(
            region=_embed(self._region, shape, content),
            lesion=_embed(self._lesion, shape, content),
            candidate_index=(slices * shape[1] + rows) * shape[2] + columns,
            artery=np.concatenate([points.artery for points in self._points]),
            artery_samples=passes[: self._sampling.samples],
            samples_by_head={head: passes[rows] for head, rows in self._sampling.heads.items()},
            mutual_information=np.concatenate(
                [points.mutual_information for points in self._points]
            ),
            entropy=np.concatenate([points.entropy for points in self._points]),
            region_entropy=self._boundary_entropy.value,
            embedding=(self._embedding / content.shape[0]).float().numpy(),
        )

    def _inputs(self, indices: range) -> Tensor:
        config = self._network.config
        height, width = padded_size((self._hu.shape[1], self._hu.shape[2]), config.multiple)
        slabs = np.full((len(indices), 2 * config.neighbours + 1, height, width), AIR_HU, np.int16)
        for place, index in enumerate(indices):
            slab = take_slab(self._hu, index, config.neighbours)
            slabs[place, :, : slab.shape[1], : slab.shape[2]] = slab
        candidates = np.zeros((len(indices), height, width), np.bool_)
        candidates[:, : self._hu.shape[1], : self._hu.shape[2]] = self._candidates[
            indices.start : indices.stop
        ]
        body = ContentBox(*((0, length) for length in self._hu.shape))
        positions = np.stack(
            [position_planes(index, (0, 0), (height, width), body) for index in indices]
        )
        return network_input(slabs, candidates, config, positions).to(self._device)

    def _keep_maps(self, indices: range, region: Tensor, lesion: Tensor) -> Tensor:
        """Put down what the slices show; returns the entropy of voxels at boundaries."""
        values = region.argmax(dim=1)
        at_boundary = region.movedim(1, -1)[_boundary(values)]
        entropy = class_entropy(at_boundary.softmax(dim=1))
        is_lesion = lesion[:, 1] >= lesion[:, 0]
        values = torch.where(is_lesion, _artery(region), values)
        self._region[indices.start : indices.stop] = values.byte().cpu().numpy()
        self._lesion[indices.start : indices.stop] = is_lesion.cpu().numpy()
        return entropy

    def _sample(
        self, index: int, prefix: DecoderState, region: Tensor, lesion: Tensor
    ) -> _SlicePoints:
        near = widen(self._region[index] > 0, self._reach)
        rows, columns = np.nonzero(self._candidates[index] & near)
        # What the deterministic pass says stands for all samples where none are drawn.
        probs = lesion[:, rows, columns].softmax(dim=0)[1]
        artery = _artery(region[None, :, rows, columns])[0]
        found = _SlicePoints(
            rows,
            columns,
            artery.byte().cpu().numpy(),
            np.tile(_called(probs, artery), (self._sampling.passes, 1)),
            np.zeros(rows.size, np.float32),
            binary_entropy(probs.cpu().double()).float().numpy(),
        )
        if self._sampling.samples:
            is_sure = (probs < _SURE).cpu().numpy() | (probs > 1.0 - _SURE).cpu().numpy()
            open_points = np.flatnonzero(~(self._is_large[index, rows, columns] & is_sure))
            points = np.stack([rows, columns])[:, open_points]
            for group in group_into_patches(points, self._margin):
                self._sample_patch(prefix, found, open_points[group])
        return found

    def _sample_patch(
        self, prefix: DecoderState, found: _SlicePoints, group: NDArray[np.intp]
    ) -> None:
        """Replace what is known about some points by what the samples say."""
        points = torch.from_numpy(np.stack([found.rows[group], found.columns[group]]))
        logits = sample_at_points(self._network, prefix, self._sampling.masks, points)
        probs = logits["lesion"].float().softmax(dim=1)[:, 1]
        found.passes[:, group] = _called(probs, _artery(logits["region"]))
        statistics = BinaryStatistics(group.size)
        statistics.add(probs[: self._sampling.samples].expand(self._sampling.samples, -1))
        found.mutual_information[group] = statistics.mutual_information()
        found.entropy[group] = statistics.entropy()


class _RunningMean:
    """Mean of values that come in parts."""

    def __init__(self) -> None:
        self._sum, self._count = 0.0, 0

    def add(self, values: Tensor) -> None:
        self._sum += float(values.double().sum())
        self._count += values.numel()

    @property
    def value(self) -> float:
        """The mean, 0 without a value."""
        return self._sum / self._count if self._count else 0.0


def _artery(region: Tensor) -> Tensor:
    """Return the likeliest artery 1..4, whether or not background is likelier still."""
    return region[:, 1:].argmax(dim=1) + 1


def _called(probs: Tensor, artery: Tensor) -> NDArray[np.uint8]:
    """Return the artery where the probability of a lesion says yes, else 0."""
    called: NDArray[np.uint8] = (
        torch.where(probs >= _LESION_PROBABILITY, artery, 0).byte().cpu().numpy()
    )
    return called


def _boundary(values: Tensor) -> Tensor:
    """Mark the voxels of label maps, shape (N, Y, X), with a neighbour of another value."""
    maps = values[:, None].float()
    highest = functional.max_pool2d(maps, 3, stride=1, padding=1)
    lowest = -functional.max_pool2d(-maps, 3, stride=1, padding=1)
    return (highest != lowest)[:, 0]


def _embed(part: NDArray[_Scalar], shape: tuple[int, ...], content: ContentBox) -> NDArray[_Scalar]:
    whole = np.zeros(shape, part.dtype)
    whole[content.index] = part
    return whole
