"""Labels of people as the oracle."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from app import images
from app.calcium.labels import LABELS
from app.errors import NotFoundError, NotReadyError
from app.imaging.volume import Volume
from app.imaging.volume_writer import write_volume
from app.intake.label_check import encode_canonical
from app.settings import Settings
from app.simulation.cases import POOL, TEST, VALIDATION
from app.simulation.user_data import load_user_oracle, set_of
from app.store.tables import ImageRow
from tests.app.conftest import Deployment
from tests.app.submitting import submit_label
from tests.factories import make_grid

GRID = make_grid((4, 16, 16), spacing_mm=(3.0, 1.0, 1.0))


def patient_of(chosen: str) -> str:
    """Return a patient's key that falls into a set."""
    keys = (hashlib.sha256(str(number).encode()).hexdigest() for number in range(1000))
    return next(key for key in keys if set_of(key) == chosen)


def add_labeled(deployment: Deployment, folder: Path, name: str, patient: str) -> None:
    hu = np.full(GRID.shape, 40, np.int16)
    hu[1, 4:8, 4:8] = 400 + len(name)
    hu[2, 0, len(patient) % 16] = int(name[-1]) * 7
    path = folder / f"{name}.nrrd"
    write_volume(path, Volume(hu, GRID, 120.0))
    kept_in = (deployment.files, deployment.settings)
    upload = images.check_upload(
        *kept_in, path=path, image_id=name, name=path.name, info={}, now=1.0
    )
    with deployment.database.writing() as session:
        images.keep_upload(session, upload, now=1.0)
        row = session.get(ImageRow, name)
        assert row is not None
        row.patient_key = patient
    labels = np.zeros(GRID.shape, np.uint8)
    labels[1, 4:8, 4:8] = LABELS["LAD"]
    path.write_bytes(encode_canonical(labels, GRID))
    submit_label(deployment, name, path)


def test_labeled_images_are_split_by_patient(deployment: Deployment, tmp_path: Path) -> None:
    chosen = {"a1": POOL, "a2": POOL, "b3": VALIDATION, "c4": TEST}
    for name, set_name in chosen.items():
        add_labeled(deployment, tmp_path, name, patient_of(set_name))
    oracle = load_user_oracle(deployment.settings)
    found = {case.training.case_id: name for name, cases in oracle.sets.items() for case in cases}
    assert found == chosen
    # Two scans of one patient are of one group.
    assert oracle.groups.tolist() == [0, 0]
    assert oracle.lesions.tolist() == [1, 1]
    assert oracle.judged == (TEST,)


def test_a_pool_without_a_test_is_refused(deployment: Deployment, tmp_path: Path) -> None:
    add_labeled(deployment, tmp_path, "a1", patient_of(POOL))
    with pytest.raises(NotReadyError, match="got 1 and 0 images"):
        load_user_oracle(deployment.settings)


def test_a_folder_without_a_database_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no database"):
        load_user_oracle(Settings(data=tmp_path / "nothing"))


def test_shares_of_patients_are_those_of_the_documentation() -> None:
    keys = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(4000)]
    sets = [set_of(key) for key in keys]
    assert sets.count(TEST) / len(sets) == pytest.approx(0.3, abs=0.03)
    assert sets.count(VALIDATION) / len(sets) == pytest.approx(0.1, abs=0.02)
