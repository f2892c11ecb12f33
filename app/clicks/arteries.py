"""The artery of a lesion, taken from the network's prediction of its image."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import images, inference, model_versions
from app.arrays import AxialImage, load_label
from app.calcium.labels import ARTERIES
from app.clicks.islands import Voxels
from app.errors import NotReadyError
from app.store.files import FileStore
from app.store.tables import JobRow

NEAREST_MM: Final = 5.0
"""How far from a lesion its artery's region may end.

Regions are rough outlines of a vessel's surroundings; coronary lumens measure 2 to 5 mm, so a
region farther away is that of another vessel.
"""


@dataclass(frozen=True)
class AssignedArtery:
    """The artery of a lesion.

    Attributes:
        artery: Its name.
        share: Share of the lesion's voxels within the network's region or calcium of this
            artery; 0 where the region is only near.
        distance_mm: Distance to the region; 0 where it holds a part of the lesion.
    """

    artery: str
    share: float
    distance_mm: float


def artery_of(
    voxels: Voxels, predicted: NDArray[np.uint8], *, spacing_mm: tuple[float, float, float]
) -> AssignedArtery | None:
    """Find the artery whose region or calcium holds most of a lesion, else the nearest one.

    Args:
        voxels: Voxels of the lesion, (z, y, x), shape (3, N), N > 0.
        predicted: Canonical label map of the network, shape (Z, Y, X).
        spacing_mm: Distance between voxel centres along (Z, Y, X), in millimetres.

    Returns:
        The artery, of equal ones the first in canonical order; None without a region near.
    """
    held = np.bincount(_arteries(predicted[tuple(voxels)]), minlength=len(ARTERIES) + 1)[1:]
    if held.any():
        best = int(held.argmax())
        return AssignedArtery(ARTERIES[best], float(held[best] / voxels.shape[1]), 0.0)
    margin = np.ceil(NEAREST_MM / np.asarray(spacing_mm)).astype(np.intp)
    low = np.maximum(voxels.min(axis=1) - margin, 0)
    high = np.minimum(voxels.max(axis=1) + margin + 1, predicted.shape)
    box = tuple(slice(int(first), int(end)) for first, end in zip(low, high, strict=True))
    around = _arteries(predicted[box])
    is_elsewhere = np.ones(around.shape, np.bool_)
    is_elsewhere[tuple(voxels - low[:, None])] = False
    distance = ndimage.distance_transform_edt(is_elsewhere, sampling=spacing_mm)
    distance[around == 0] = np.inf
    nearest = distance.min()
    if nearest > NEAREST_MM:
        return None
    best = int(around[distance == nearest].min()) - 1
    return AssignedArtery(ARTERIES[best], 0.0, float(nearest))


def predicted_labels(
    session: Session, files: FileStore, image: AxialImage, *, image_id: str, session_id: str
) -> NDArray[np.uint8]:
    """Return what the active model version says about an image, in axial orientation.

    Args:
        session: Open transaction; reading is enough.
        files: Where label maps are.
        image: The image in axial orientation.
        image_id: Its id, where it is one of the pool.
        session_id: The session it belongs to, or empty.

    Raises:
        NotFoundError: If there is no such image.
        NotReadyError: If there is no trained model, or it has not seen the image yet.
    """
    version = model_versions.active(session)
    if version is None:
        raise NotReadyError(
            "no trained model yet that knows the arteries; choose the artery yourself and click "
            "with the model lesion_click"
        )
    if session_id:
        sha256 = _of_session(session, session_id, version.id)
    else:
        images.get_image(session, image_id)
        row = inference.find_prediction(session, image_id)
        sha256 = row.sha256 if row else None
    if sha256 is None:
        raise NotReadyError(
            "the active model has not predicted this image yet; run the model calcium on it first"
        )
    return load_label(files, image, sha256)


def _of_session(session: Session, session_id: str, version_id: int) -> str | None:
    """Return the label map of the newest prediction that was made for a session."""
    done = select(JobRow).where(
        JobRow.kind == "predict",
        JobRow.status == "done",
        JobRow.request["session"].as_string() == session_id,
        JobRow.request["model_version"].as_integer() == version_id,
    )
    job = session.scalars(done.order_by(JobRow.created_at.desc()).limit(1)).first()
    return None if job is None else str(job.result["sha256"])


def _arteries(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Turn calcium and region labels into the number of their artery, from 1."""
    count = np.uint8(len(ARTERIES))
    arteries: NDArray[np.uint8] = np.where(labels > count, labels - count, labels)
    return arteries
