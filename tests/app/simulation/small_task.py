"""A task that trains in half a second: hearts of two blocks, calcium in one of them."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from app.calcium.labels import LABELS
from app.imaging.volume import Grid, Volume
from app.settings import Settings
from app.simulation.plan import Patients, Plan, Task, strategy_arms
from app.simulation.running import PATIENTS
from app.simulation.synthetic import Order, orders, write_case

SHAPE = (4, 32, 32)
PEOPLE = Patients(pool=7, validation=2, test=4, stratum=1, size=SHAPE, seed=3)
TASK = Task(
    budgets=(2, 4),
    network="tiny",
    epochs=1,
    steps=3,
    batch=2,
    samples=3,
    plants=False,
    patients=PEOPLE,
)
PLAN = Plan(TASK, strategy_arms(("random", "uncertainty")), (1, 2))
SETTINGS = Settings(profile="small", device="cpu")


def write_patients(folder: Path) -> None:
    """Write simple hearts where a simulation looks for its patients."""
    for number, order in enumerate(orders(PEOPLE)):
        _write(order, folder / PATIENTS, lesions=number % 3)


def outcome_times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (folder / "outcomes").iterdir()}


def contents(paths: Iterable[Path]) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in paths}


def _write(order: Order, folder: Path, *, lesions: int) -> None:
    rng = np.random.default_rng(order.number)
    hu = rng.normal(40, 10, SHAPE).astype(np.int16)
    labels = np.zeros(SHAPE, np.uint8)
    labels[:, 6:14, 6:14] = LABELS["LAD_region"]
    labels[:, 18:26, 18:26] = LABELS["RCA_region"]
    for lesion in range(lesions):
        z, y = int(rng.integers(4)), 7 + 3 * lesion
        hu[z, y : y + 2, 8:11] = 400
        labels[z, y : y + 2, 8:11] = LABELS["LAD"]
    hu[1, 2:4, 26:29] = 500
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    write_case(order.path(folder), Volume(hu, Grid(SHAPE, affine), 120.0), labels)
