"""Segmentations taken in, and what became of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from app import images, labels
from app.imaging.labelmap import read_label_map
from app.pacs.segmentations import (
    Origin,
    TakenSegmentation,
    take_segmentation,
)
from app.store.tables import LabelRow, SegmentationRow
from tests.app.conftest import Deployment
from tests.factories import SHAPE

PAINTED = (2, slice(1, 4), slice(2, 5))
"""Where the segments of these tests are drawn."""


def scan(deployment: Deployment, *, now: float) -> None:
    images.scan_studies(deployment.database, deployment.settings, now=lambda: now)


def mask() -> NDArray[np.uint8]:
    drawn = np.zeros(SHAPE, np.uint8)
    drawn[PAINTED] = 1
    return drawn


def take(
    deployment: Deployment, content: bytes, *, now: float = 10.0, origin: Origin = "stow"
) -> TakenSegmentation:
    return take_segmentation(
        deployment.database,
        deployment.files,
        deployment.settings,
        content,
        origin=origin,
        now=now,
    )


def all_labels(deployment: Deployment) -> Sequence[LabelRow]:
    with deployment.database.reading() as session:
        return session.scalars(select(LabelRow)).all()


def notes(deployment: Deployment) -> Sequence[SegmentationRow]:
    with deployment.database.reading() as session:
        return session.scalars(select(SegmentationRow)).all()


def drawn_in(deployment: Deployment, taken: TakenSegmentation) -> NDArray[Any]:
    assert taken.label is not None, taken.problem
    return read_label_map(labels.label_file(deployment.files, taken.label)).array
