"""A series, a label drawn on it, and the segmentation of that."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from app.imaging.dicom.segmentation import write_segmentation
from tests.app.imaging.segmentations import (
    DERIVATION,
)
from tests.factories import make_labels
from tests.factories import write_dicom as write


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write(tmp_path_factory.mktemp("series"))


@pytest.fixture
def label() -> NDArray[np.uint8]:
    drawn = make_labels()
    drawn[[1, 3]] = 0
    return drawn


@pytest.fixture
def content(files: list[Path], label: NDArray[np.uint8]) -> bytes:
    return write_segmentation(files, label, DERIVATION)
