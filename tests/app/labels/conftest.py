"""Three images without files, and a label that fits them."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.app.conftest import Deployment
from tests.app.pool import add_image
from tests.factories import make_grid, make_labels, write_itk


@pytest.fixture(autouse=True)
def pool(deployment: Deployment) -> None:
    with deployment.database.writing() as session:
        for image_id in ("a", "b", "c"):
            add_image(session, image_id)


@pytest.fixture
def drawn() -> NDArray[np.uint8]:
    return make_labels()


@pytest.fixture
def label_path(tmp_path: Path, drawn: NDArray[np.uint8]) -> Path:
    return write_itk(tmp_path / "label.nrrd", drawn, make_grid())
