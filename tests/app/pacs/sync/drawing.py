"""Segmentations that somebody drew on a series of the server."""

import numpy as np

from app.calcium.labels import LABELS
from app.imaging.dicom.derivation import Derivation
from app.imaging.dicom.segmentation import write_segmentation
from tests.app.imaging.segmentations import DERIVATION
from tests.app.pacs.conftest import PacsSite
from tests.factories import SHAPE


def segmentation_of(site: PacsSite, seed: int, derivation: Derivation = DERIVATION) -> bytes:
    """Draw one plaque in the RCA on a series that was added."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[2, 2:4, 3:5] = LABELS["RCA"]
    return write_segmentation(site.files(seed), labels, derivation)
