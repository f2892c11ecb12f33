"""What a simulation compares: arms, seeds, budgets, and the task they are measured on."""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Final, Literal

from app.errors import InvalidInputError
from app.recipes import calcium
from app.settings import Settings
from models.network import NetworkConfig, paper_network, small_network
from models.training.trainer_config import TrainerConfig
from strategies.registry import strategy_names

JOINT: Final = "joint_uncertainty"
"""Training arm of every strategy: both tasks at once, weighted by their uncertainty."""

FULL: Final = "all labels"
"""Name of the reference that is trained on the whole pool."""

RANDOM: Final = "random"
"""Strategy that every other one is compared with."""

_NOT_COMPARED: Final = ("first",)
"""Strategies that follow the order of service, which a simulation does not have."""

Network = Literal["tiny", "small", "paper"]


@dataclass(frozen=True)
class Arm:
    """One way to spend the budget.

    Attributes:
        name: Shown in tables; unique within a plan.
        strategy: Name of the strategy that chooses, or ``FULL``.
        training: Training arm, see ``app.recipes.calcium``.
        rounds: Rounds that are measured; None measures all. Only for ``RANDOM``, which needs
            no model to choose.
    """

    name: str
    strategy: str
    training: str = JOINT
    rounds: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Patients:
    """Synthetic patients of a simulation.

    Attributes:
        pool: Patients whose labels can be bought.
        validation: Patients by whom every model chooses how sure of a lesion to be; their
            labels come on top of every budget.
        test: Patients that every model is judged on.
        stratum: Patients who are scanned again with noise, with motion and with metal.
        size: Voxels along (Z, Y, X).
        seed: Seed of the patients.
    """

    pool: int
    validation: int
    test: int
    stratum: int
    size: tuple[int, int, int]
    seed: int = 2022


@dataclass(frozen=True)
class Task:
    """What one training costs and learns; the same for all arms.

    Attributes:
        budgets: Labels in each round, ascending.
        network: Shape of the network.
        epochs: Epochs of a training; 0 leaves the recipe's number.
        steps: Batches of an epoch; 0 leaves the recipe's number.
        batch: Slices of a batch; 0 leaves the recipe's number.
        samples: MC-dropout samples by which the pool is ranked.
        plants: Whether calcium and metal are planted into training slices, as a deployment
            does. It stands in for labels, so that little is left to be seen of their number.
        patients: Synthetic patients; None takes the labeled images of a data folder.
    """

    budgets: tuple[int, ...]
    network: Network
    epochs: int = 0
    steps: int = 0
    batch: int = 0
    samples: int = 10
    plants: bool = True
    patients: Patients | None = None

    def __post_init__(self) -> None:
        """Refuse budgets that no curve can be drawn over."""
        steps = zip(self.budgets, self.budgets[1:], strict=False)
        if len(self.budgets) < 2 or self.budgets[0] < 1 or any(a >= b for a, b in steps):
            raise InvalidInputError(
                f"expected at least two ascending budgets of labels, got {list(self.budgets)}"
            )

    @property
    def digest(self) -> str:
        """Short hash of everything that decides what a training learns."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Plan:
    """A simulation.

    Attributes:
        task: What is learned.
        arms: What is compared; the reference ``FULL`` comes with every training arm.
        seeds: Each seed has its own start set, weights and draws.
    """

    task: Task
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse what would give a table without meaning."""
        names = [arm.name for arm in self.arms]
        if not names or len(set(names)) < len(names) or FULL in names:
            raise InvalidInputError(f"expected arms of different names, got {names}")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise InvalidInputError(f"expected different seeds, got {list(self.seeds)}")
        for arm in self.arms:
            if arm.rounds is not None and arm.strategy != RANDOM:
                raise InvalidInputError(f"arm {arm.name} needs a model of every round to choose")

    def references(self) -> tuple[Arm, ...]:
        """Return the arm that gets all labels for each training arm."""
        trainings = dict.fromkeys(arm.training for arm in self.arms)
        return tuple(Arm(reference_name(training), FULL, training) for training in trainings)


def reference_name(training: str) -> str:
    """Name the arm that gets all labels under a training arm."""
    return FULL if training == JOINT else f"{FULL}, {training}"


def compared_strategies() -> tuple[str, ...]:
    """Return the strategies that a simulation can tell apart, the baselines first."""
    names = [name for name in strategy_names() if name not in _NOT_COMPARED]
    baselines = [name for name in (RANDOM, "stratified") if name in names]
    return (*baselines, *(name for name in names if name not in baselines))


def strategy_arms(names: tuple[str, ...]) -> tuple[Arm, ...]:
    """Return an arm for each strategy.

    Raises:
        InvalidInputError: If there is no such strategy.
    """
    known = compared_strategies()
    for name in names:
        if name not in known:
            raise InvalidInputError(f"no strategy {name!r}; known: {', '.join(known)}")
    return tuple(Arm(name, name) for name in names)


def network_config(task: Task) -> NetworkConfig:
    """Return the shape of the task's network."""
    if task.network == "tiny":
        return replace(small_network(), widths=(12, 24, 48, 64))
    return paper_network() if task.network == "paper" else small_network()


def trainer_config(task: Task, settings: Settings) -> TrainerConfig:
    """Return the recipe of the deployment with the task's sizes.

    Validation neither ends a training nor chooses its epoch: all arms get the same batches.
    """
    recipe = calcium.trainer_config(settings, max_epochs=task.epochs, device=settings.device)
    sampling = recipe.sampling
    if not task.plants:
        plain = replace(
            sampling.augmentation, metal_chance=0.0, plaque_chance=0.0, distractor_chance=0.0
        )
        sampling = replace(sampling, augmentation=plain)
    steps = task.steps or recipe.steps_per_epoch
    return replace(
        recipe,
        steps_per_epoch=steps,
        batch_size=task.batch or recipe.batch_size,
        # The average must forget the first weights within the training.
        average_decay=min(recipe.average_decay, 1.0 - 5.0 / (steps * recipe.epochs)),
        patience=None,
        validate_every=recipe.epochs,
        sampling=sampling,
    )
