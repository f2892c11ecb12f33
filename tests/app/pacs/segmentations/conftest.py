"""A pool of one DICOM series."""

from pathlib import Path

import pytest

from tests.app.conftest import Deployment
from tests.app.pacs.segmentations.taking import scan
from tests.factories import write_dicom


@pytest.fixture
def series(deployment: Deployment) -> list[Path]:
    """Register one DICOM series."""
    files = write_dicom(deployment.studies / "series")
    scan(deployment, now=5.0)
    return files
