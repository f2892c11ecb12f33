"""The synthetic patients of a simulation, made once and kept as files.

Some patients are scanned again: at rest and without metal, with more noise, with movement,
and with metal in the chest. Anatomy and calcium stay the same, so that a difference between
two of these sets is one of the images alone.
"""

import io
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.arrays import AxialImage
from app.calcium.phantom import PhantomConfig, make_phantom
from app.calcium.phantom.metal import LEAD
from app.evaluation import EvaluationCase
from app.imaging.volume import Grid, Volume
from app.recipes import calcium
from app.simulation.cases import POOL, TEST, VALIDATION, Oracle
from app.simulation.plan import Patients
from app.store.files import write_durably

CLEAN, NOISE, MOTION, METAL = "clean", "noise", "motion", "metal"

_CALM: Final = PhantomConfig(noise_sd_hu=14.0, motion_mm=0.0, metal=False)

STRATA: Final = MappingProxyType(
    {
        CLEAN: _CALM,
        NOISE: replace(_CALM, noise_sd_hu=35.0),
        MOTION: replace(_CALM, motion_mm=5.0),
        METAL: replace(_CALM, metal=True, metal_part=LEAD),
    }
)
"""How the patients of each stratum are scanned; the dose of the clean one is a usual one."""

_TEST_FROM, _STRATA_FROM, _VALIDATION_FROM = 100_000, 200_000, 300_000
"""Numbers of the first patients who are no pool; a larger pool leaves the others as they are."""

_MAX_SEED: Final = 2**63


@dataclass(frozen=True)
class Order:
    """A patient to be made.

    Attributes:
        set_name: Set the patient belongs to.
        number: Number of the patient; the same number is the same patient in all strata.
        config: What is fixed about the scan.
        seed: Seed of the simulation's patients.
    """

    set_name: str
    number: int
    config: PhantomConfig
    seed: int

    def path(self, folder: Path) -> Path:
        """Return where the patient is kept."""
        return folder / f"{self.set_name}-{self.number:06d}.npz"


def orders(patients: Patients) -> list[Order]:
    """List every patient of a simulation."""
    plain = PhantomConfig(shape=patients.size)
    wanted = [(POOL, number, plain) for number in range(patients.pool)]
    validation = range(_VALIDATION_FROM, _VALIDATION_FROM + patients.validation)
    wanted += [(VALIDATION, number, plain) for number in validation]
    wanted += [(TEST, _TEST_FROM + number, plain) for number in range(patients.test)]
    for name, config in STRATA.items():
        sized = replace(config, shape=patients.size)
        wanted += [(name, _STRATA_FROM + number, sized) for number in range(patients.stratum)]
    return [Order(name, number, config, patients.seed) for name, number, config in wanted]


def make_patient(order: Order, folder: Path) -> None:
    """Make a patient unless the file is there already."""
    path = order.path(folder)
    if path.exists():
        return
    mixed = np.random.SeedSequence((order.seed, order.number)).generate_state(1, np.uint64)[0]
    phantom = make_phantom(order.config, int(mixed) % _MAX_SEED)
    write_case(path, phantom.volume, phantom.labels)


def write_case(path: Path, volume: Volume, labels: NDArray[np.uint8]) -> None:
    """Write an axial volume with its label map, shape (Z, Y, X)."""
    kvp = np.float64(np.nan if volume.kvp is None else volume.kvp)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, hu=volume.hu, labels=labels, affine=volume.grid.affine, kvp=kvp)
    write_durably(path, buffer.getvalue())


def load_oracle(patients: Patients, folder: Path) -> Oracle:
    """Read all patients, which must have been made."""
    sets: dict[str, list[EvaluationCase]] = {}
    for order in orders(patients):
        sets.setdefault(order.set_name, []).append(_read_case(order.path(folder)))
    return Oracle(sets, [case.training.case_id for case in sets[POOL]])


def missing(wanted: Iterable[Order], folder: Path) -> list[Order]:
    """List the patients that have not been made yet."""
    return [order for order in wanted if not order.path(folder).exists()]


def case_of(case_id: str, image: AxialImage, labels: NDArray[np.uint8]) -> EvaluationCase:
    """Join an image with a label map that covers both tasks."""
    training = calcium.training_case(
        case_id, image, labels, covers_calcium=True, covers_regions=True
    )
    return EvaluationCase(image, labels, training)


def _read_case(path: Path) -> EvaluationCase:
    with np.load(path) as file:
        hu, labels, affine, kvp = (file[name] for name in ("hu", "labels", "affine", "kvp"))
    grid = Grid(hu.shape, affine)
    # A phantom is axial already.
    image = AxialImage(hu, grid, grid, None if np.isnan(kvp) else float(kvp))
    return case_of(path.stem, image, labels)
