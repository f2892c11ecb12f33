"""Simulations by name."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from app.simulation.plan import RANDOM, Arm, Patients, Task

SINGLE_TASK: Final = "single_task"
"""Training arm that learns calcium alone, without artery regions."""

TRAINING_ARMS: Final = ("joint_fixed", SINGLE_TASK, "sequential")
"""Training arms that are compared with the usual one, all on random labels."""

TASKS: Final[Mapping[str, Task]] = MappingProxyType(
    {
        "small": Task(
            budgets=(4, 8, 12, 18, 26),
            network="tiny",
            epochs=5,
            steps=20,
            batch=16,
            plants=False,
            patients=Patients(pool=80, validation=12, test=60, stratum=20, size=(12, 64, 64)),
        ),
        "quick": Task(
            budgets=(4, 8),
            network="tiny",
            epochs=2,
            steps=10,
            batch=8,
            samples=5,
            plants=False,
            patients=Patients(pool=12, validation=3, test=8, stratum=2, size=(12, 64, 64)),
        ),
    }
)
"""What is learned by profile. The small one learns in half a minute of a processor core what
leaves room for better labels: from 4 labels to all of them the volume F1 rises by 0.2."""

USER_TASK: Final = Task(budgets=(10, 20, 40, 80), network="small")
"""What is learned on the labeled images of a data folder, with the deployment's recipe."""


def training_arms(budgets: tuple[int, ...]) -> tuple[Arm, ...]:
    """Return the arms that differ from random labels with joint training in training alone."""
    return tuple(Arm(name, RANDOM, name, _few(budgets)) for name in TRAINING_ARMS)


def training_baseline(budgets: tuple[int, ...]) -> Arm:
    """Return the arm they are compared with, where no strategy is measured as well."""
    return Arm(RANDOM, RANDOM, rounds=_few(budgets))


def _few(budgets: tuple[int, ...]) -> tuple[int, ...]:
    """Return the first, a middle and the last round."""
    last = len(budgets) - 1
    return tuple(sorted({0, last // 2, last}))
