"""Calcium figures of clicked lesions."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.arrays import AxialImage
from app.calcium.score import CalciumScores, calcium_scores
from app.clicks.islands import Voxels
from app.clicks.lesions import ClickedLesion
from app.settings import Settings
from app.store.tables import Json

_ANY_ARTERY = 1
"""Value that stands for calcium where only totals are wanted."""


def lesion_table(image: AxialImage, lesion: ClickedLesion, settings: Settings) -> Json:
    """Return the figures of one clicked lesion, with the click and what there is to say."""
    table: Json = {"click": list(lesion.click)}
    if not lesion.is_empty:
        values = np.full(lesion.voxels.shape[1], _ANY_ARTERY, np.uint8)
        scores = scores_of(image, lesion.voxels, values, settings)
        table |= scores.total.to_json() | {"peak_hu": peak_hu(image, lesion.voxels)}
        table["is_cut"] = lesion.is_cut
    return table | ({"message": lesion.note} if lesion.note else {})


def scores_of(
    image: AxialImage, voxels: Voxels, values: NDArray[np.uint8], settings: Settings
) -> CalciumScores:
    """Score some voxels of an image, at the cost of the box around them.

    Args:
        image: The image.
        voxels: Voxels (z, y, x), shape (3, N).
        values: Calcium value of each, shape (N,).
        settings: Settings of the deployment, with rule and mass factor.
    """
    low = voxels.min(axis=1, initial=max(image.hu.shape))
    high = voxels.max(axis=1, initial=-1) + 1
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, np.maximum(high, low), strict=True))
    hu = image.hu[box]
    labels = np.zeros(hu.shape, np.uint8)
    labels[tuple(voxels - low[:, None])] = values
    return calcium_scores(
        hu,
        labels,
        spacing_mm=image.spacing_mm,
        kvp=image.kvp,
        rule=settings.rule,
        mass_factor=settings.mass_factor,
    )


def peak_hu(image: AxialImage, voxels: Voxels) -> int:
    """Return the highest attenuation of some voxels, which must not be none."""
    return int(image.hu[tuple(voxels)].max())


def merged(parts: Sequence[Voxels], values: Sequence[int]) -> tuple[Voxels, NDArray[np.uint8]]:
    """Return the voxels of all parts, each once, and the value of each.

    Where parts share voxels, the later one wins.
    """
    voxels = np.concatenate([np.empty((3, 0), np.intp), *parts], axis=1)
    counts = [part.shape[1] for part in parts]
    repeated = np.repeat(np.asarray(values, np.uint8), counts)
    # Of equal voxels the first is kept, so the order is turned round.
    turned = voxels[:, ::-1]
    unique, places = np.unique(turned, axis=1, return_index=True)
    return unique, repeated[::-1][places]
