"""From Hounsfield units to what a network reads, the same in training and prediction."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .network import NetworkConfig

AIR_HU = -1024
"""Attenuation of everything outside an image."""

_EMPTY_HU = -950
"""Rows and columns that nowhere exceed this hold nothing but air or padding."""

_SCALED_MAX = 1.6
"""Scaled attenuation is clipped from 0 to here; 3071 HU still fits the published window."""


@dataclass(frozen=True)
class ContentBox:
    """Part of a volume that holds more than air, as half-open ranges of indices.

    The network sees this box alone, so padding a volume with air changes nothing.
    """

    planes: tuple[int, int]
    rows: tuple[int, int]
    columns: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along (Z, Y, X)."""
        planes, rows, columns = (
            stop - start for start, stop in (self.planes, self.rows, self.columns)
        )
        return planes, rows, columns

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.shape[1:]

    @property
    def index(self) -> tuple[slice, slice, slice]:
        """Index of the box in a volume."""
        return slice(*self.planes), slice(*self.rows), slice(*self.columns)


def find_content(hu: NDArray[np.int16]) -> ContentBox:
    """Find the box of a volume, shape (Z, Y, X), outside which all is air.

    A volume of air alone is its own box, so that the box is never empty.
    """
    highest = hu.max(axis=0)
    return ContentBox(
        _occupied(hu.max(axis=(1, 2))),
        _occupied(highest.max(axis=1)),
        _occupied(highest.max(axis=0)),
    )


def _occupied(highest: NDArray[np.int16]) -> tuple[int, int]:
    filled = np.flatnonzero(highest > _EMPTY_HU)
    return (int(filled[0]), int(filled[-1]) + 1) if filled.size else (0, highest.size)


def padded_size(size: tuple[int, int], multiple: int) -> tuple[int, int]:
    """Round a height and width up to multiples of ``multiple``."""
    height, width = (-(-side // multiple) * multiple for side in size)
    return height, width


def take_slab(hu: NDArray[np.int16], index: int, neighbours: int) -> NDArray[np.int16]:
    """Take a slice with its neighbours, shape (2 * neighbours + 1, Y, X).

    Beyond the ends of the volume the end slice is repeated.
    """
    wanted = np.arange(index - neighbours, index + neighbours + 1)
    return hu[np.clip(wanted, 0, hu.shape[0] - 1)]


def position_planes(
    index: int, corner: tuple[int, int], size: tuple[int, int], content: ContentBox
) -> NDArray[np.float32]:
    """Tell where the pixels of a patch lie within the content of their volume.

    Args:
        index: Number of the slice in the volume.
        corner: First row and column of the patch in the content.
        size: Height and width of the patch.
        content: Content of the volume.

    Returns:
        Position along z, y and x, each -1 at the first and 1 at the last voxel of the
        content, shape (3, Y, X).
    """
    planes = np.empty((3, *size), np.float32)
    voxels = (index - content.planes[0], *(np.arange(side) for side in size))
    shapes = ((1, 1), (-1, 1), (1, -1))
    starts = (0, *corner)
    for axis, (place, shape, start) in enumerate(zip(voxels, shapes, starts, strict=True)):
        last = max(content.shape[axis] - 1, 1)
        planes[axis] = (2.0 * (np.asarray(place) + start) / last - 1.0).reshape(shape)
    return planes


def network_input(
    slabs: NDArray[np.float32] | NDArray[np.int16],
    candidates: NDArray[np.bool_],
    config: NetworkConfig,
    positions: NDArray[np.float32] | None = None,
) -> Tensor:
    """Build the input channels of a batch.

    Args:
        slabs: Attenuation in HU, shape (N, S, Y, X): S slices, the middle one to segment.
        candidates: Voxels of the middle slice at or above the threshold, shape (N, Y, X).
        config: Shape of the network.
        positions: Position of each pixel, shape (N, 3, Y, X), see ``position_planes``;
            needed only by networks that read it.

    Returns:
        Shape (N, C, Y, X), float32, channels last in memory: for each HU window the S
        slices scaled from 0 to 1 and clipped to 0..1.6, then the positions if the network
        reads them, then the candidates as 0 and 1.

    Raises:
        ValueError: If the network reads positions and there are none.
    """
    hu = torch.from_numpy(np.ascontiguousarray(slabs)).float()
    channels = [
        ((hu - low) / (high - low)).clamp(0.0, _SCALED_MAX) for low, high in config.hu_windows
    ]
    if config.has_position:
        if positions is None:
            raise ValueError("this network reads the position of each pixel, got none")
        channels.append(torch.from_numpy(positions))
    channels.append(torch.from_numpy(np.ascontiguousarray(candidates)).float()[:, None])
    return torch.cat(channels, dim=1).contiguous(memory_format=torch.channels_last)
