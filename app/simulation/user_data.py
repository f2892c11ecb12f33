"""The labeled images of a data folder as the pool and the test set of a simulation."""

from app.arrays import load_image, load_label
from app.errors import NotReadyError
from app.evaluation import EvaluationCase
from app.exchange.data_folder import DataFolder, open_data_folder
from app.intake.pool import current_labels
from app.recipes import calcium
from app.settings import Settings
from app.simulation.cases import POOL, TEST, VALIDATION, Oracle
from app.store.tables import ImageRow, LabelRow

_TEST_PERCENT, _VALIDATION_PERCENT = 30, 10
"""Shares of patients that models are judged on, and by whom they choose how sure of a lesion to be.

By patient hash; the rest is the pool.
"""

_HASH_BUCKETS = 100
"""A patient falls into one of so many buckets by hash; the lowest are for the test."""


def load_user_oracle(settings: Settings) -> Oracle:
    """Load the images of a data folder whose label covers calcium, split by patient.

    Raises:
        NotReadyError: If one of the two sides has no image.
        NotFoundError: If there is no data folder.
    """
    sets: dict[str, list[EvaluationCase]] = {POOL: [], VALIDATION: [], TEST: []}
    patients: list[str] = []
    with open_data_folder(settings) as data:
        with data.database.reading() as session:
            pairs = [pair for pair in current_labels(session) if pair[0].covers_calcium]
        for label, image in pairs:
            chosen = set_of(image.patient_key)
            sets[chosen].append(_load_case(data, label, image))
            if chosen == POOL:
                patients.append(image.patient_key)
    if not (sets[POOL] and sets[TEST]):
        raise NotReadyError(
            f"a simulation needs labeled patients to choose from and to test on, got"
            f" {len(sets[POOL])} and {len(sets[TEST])} images"
        )
    return Oracle(sets, patients)


def set_of(patient_key: str) -> str:
    """Return the set that a patient belongs to, the same in every run."""
    bucket = int(patient_key[:8], 16) % _HASH_BUCKETS
    if bucket < _TEST_PERCENT:
        return TEST
    return VALIDATION if bucket < _TEST_PERCENT + _VALIDATION_PERCENT else POOL


def _load_case(data: DataFolder, label: LabelRow, row: ImageRow) -> EvaluationCase:
    image = load_image(data.settings, data.files, row)
    labels = load_label(data.files, image, label.sha256)
    training = calcium.training_case(
        row.id, image, labels, covers_calcium=True, covers_regions=label.covers_regions
    )
    return EvaluationCase(image, labels, training)
