"""All figures of a simulation that a report or a table shows, from its files."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.simulation.cases import TEST, Oracle
from app.simulation.chains import OUTCOMES, Round, read_rounds
from app.simulation.comparisons import (
    MARGINS,
    Difference,
    Equivalence,
    bootstrap_difference,
    holm,
    judge_equivalence,
    penalty_matrix,
)
from app.simulation.curves import (
    Reached,
    area_under_budget_curve,
    budget_to_reach,
    foreground_efficiency,
)
from app.simulation.judging import FIGURES, Figures, figures, pooled_volume_f1
from app.simulation.outcomes import read_outcome
from app.simulation.plan import FULL, JOINT, RANDOM

PRIMARY: Final = "volume_f1"
"""Figure that arms are compared by."""

GOALS: Final = (0.95, 0.98, 1.0)
"""Shares of what all labels reach."""

AXES: Final = ("images", "lesions", "seconds")
"""What a budget is counted in."""

_BOOTSTRAP_SEED: Final = 20220811


@dataclass(frozen=True, eq=False)
class ArmResult:
    """What came of an arm, over S seeds and R rounds.

    Attributes:
        name: Name of the arm.
        strategy: Strategy that chose, or ``FULL``.
        training: Training arm.
        seeds: Seeds whose rounds are all there, ascending, S of them.
        spent: Mean over seeds of the budget of each round by axis, shape (R,) each.
        curves: Figures by name, shape (S, R) each.
        strata: Figures of the last round by set and seed.
        area: Area under the curve of the primary figure, mean over seeds.
        efficiency: FG-Eff over the share of the pool's lesions; NaN without a reference.
        reached: Budget at which a share of the reference is reached, by goal and axis.
        gain: Difference of the area against the random arm of the same training; None for
            that arm itself.
        against_all: Tests of the last round against all labels, by figure.
    """

    name: str
    strategy: str
    training: str
    seeds: tuple[int, ...]
    spent: Mapping[str, NDArray[np.float64]]
    curves: Mapping[str, NDArray[np.float64]]
    strata: Mapping[str, Sequence[Figures]]
    area: float
    efficiency: float
    reached: Mapping[float, Mapping[str, Reached]]
    gain: Difference | None
    against_all: Mapping[str, Equivalence]

    def last(self, figure: str) -> tuple[float, float]:
        """Return mean and standard deviation over seeds of a figure in the last round."""
        return spread(self.curves[figure][:, -1])


@dataclass(frozen=True, eq=False)
class Analysis:
    """What came of a simulation.

    Attributes:
        arms: Arms with at least one whole seed, baselines first.
        references: Arms with all labels by training arm.
        penalties: Names and pairwise penalty matrix of the strategies, corrected by Holm.
        whole: Cost of labeling the whole pool by axis.
        pool: Images of the pool.
        test: Images that are judged.
        trainings: Trainings done.
        training_s: Median processor seconds of a training.
        other_s: Median processor seconds of judging and predicting the pool.
    """

    arms: tuple[ArmResult, ...]
    references: Mapping[str, ArmResult]
    penalties: tuple[tuple[str, ...], NDArray[np.float64]]
    whole: Mapping[str, float]
    pool: int
    test: int
    trainings: int
    training_s: float
    other_s: float

    def strategies(self) -> tuple[ArmResult, ...]:
        """Return the arms that differ in their strategy alone."""
        return tuple(arm for arm in self.arms if arm.training == JOINT)

    def trainings_compared(self) -> tuple[ArmResult, ...]:
        """Return the arms that differ in their training alone."""
        return tuple(arm for arm in self.arms if arm.strategy == RANDOM)


@dataclass(frozen=True, eq=False)
class _Grid:
    """Rounds of an arm, one row a seed, with the tables of the test patients."""

    rounds: list[list[Round]]
    tables: NDArray[np.float64]
    """Shape (S, P, R, C)."""

    def at(self, numbers: Sequence[int]) -> "_Grid":
        """Take some rounds by their number."""
        places = [[one.number for one in self.rounds[0]].index(number) for number in numbers]
        rounds = [[row[place] for place in places] for row in self.rounds]
        return _Grid(rounds, self.tables[:, :, places])


def analyse(folder: Path, oracle: Oracle) -> Analysis:
    """Read a simulation and compute everything; seeds that lack a round are left out.

    Raises:
        InvalidInputError: If there is no round yet.
    """
    grids = _read_grids(folder)
    references = {arm: grid for arm, grid in grids.items() if grid.rounds[0][0].strategy == FULL}
    by_training = {grid.rounds[0][0].training: grid for grid in references.values()}
    done = {arm: grid for arm, grid in grids.items() if arm not in references}
    order = sorted(done, key=lambda arm: _rank(done[arm]))
    whole = _whole_cost(oracle)
    arms = tuple(
        _arm_result(done[arm], by_training, _baseline(done, done[arm]), folder, whole)
        for arm in order
    )
    seconds = _seconds(folder, grids)
    return Analysis(
        arms=arms,
        references={
            training: _arm_result(grid, by_training, None, folder, whole)
            for training, grid in by_training.items()
        },
        penalties=_penalties(arms),
        whole=whole,
        pool=len(oracle.pool),
        test=len(oracle.sets[TEST]),
        trainings=len(seconds),
        training_s=float(np.median([one for one, _ in seconds])) if seconds else math.nan,
        other_s=float(np.median([other for _, other in seconds])) if seconds else math.nan,
    )


def corrected_p(arms: Sequence[ArmResult]) -> dict[str, float]:
    """Correct the p values of several arms against one baseline for their number, by Holm."""
    compared = [(arm.name, arm.gain.p_value) for arm in arms if arm.gain is not None]
    corrected = holm([p_value for _, p_value in compared])
    return {name: float(p) for (name, _), p in zip(compared, corrected, strict=True)}


def spread(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return mean and standard deviation; that of a single value is 0."""
    return float(values.mean()), float(values.std(ddof=1)) if values.size > 1 else 0.0


def _read_grids(folder: Path) -> dict[str, _Grid]:
    by_arm: dict[str, dict[int, list[Round]]] = {}
    for one in read_rounds(folder):
        by_arm.setdefault(one.arm, {}).setdefault(one.seed, []).append(one)
    grids = {}
    for arm, by_seed in by_arm.items():
        most = max(len(rounds) for rounds in by_seed.values())
        whole = [rounds for _, rounds in sorted(by_seed.items()) if len(rounds) == most]
        tables = [[_test_table(folder, one) for one in rounds] for rounds in whole]
        grids[arm] = _Grid(whole, np.moveaxis(np.array(tables), 1, 2))
    return grids


def _test_table(folder: Path, one: Round) -> NDArray[np.float64]:
    return read_outcome(folder / OUTCOMES / f"{one.outcome}.npz").tables[TEST]


def _rank(grid: _Grid) -> tuple[bool, bool, bool, str]:
    first = grid.rounds[0][0]
    return (
        first.training != JOINT,
        first.strategy != RANDOM,
        first.strategy != "stratified",
        first.arm,
    )


def _baseline(done: Mapping[str, _Grid], grid: _Grid) -> _Grid | None:
    """Return the arm that an arm is compared with: random labels, the usual training."""
    baseline = done.get(RANDOM)
    return None if baseline is None or baseline is grid else baseline


def _arm_result(
    grid: _Grid,
    references: Mapping[str, _Grid],
    baseline: _Grid | None,
    folder: Path,
    whole: Mapping[str, float],
) -> ArmResult:
    first = grid.rounds[0][0]
    curves = {
        name: np.array([[getattr(one.figures, name) for one in row] for row in grid.rounds])
        for name in FIGURES
    }
    spent = {
        axis: np.array([[getattr(one, axis) for one in row] for row in grid.rounds]).mean(axis=0)
        for axis in AXES
    }
    # An arm of another training is measured against the usual training with all labels.
    reference = references.get(JOINT, references.get(first.training))
    is_curve = len(spent["images"]) > 1
    full = _full_value(reference)
    mean = curves[PRIMARY].mean(axis=0)
    return ArmResult(
        name=first.arm,
        strategy=first.strategy,
        training=first.training,
        seeds=tuple(row[0].seed for row in grid.rounds),
        spent=spent,
        curves=curves,
        strata=_strata(grid, folder),
        area=area_under_budget_curve(spent["images"], mean) if is_curve else float(mean[0]),
        efficiency=foreground_efficiency(spent["lesions"] / whole["lesions"], mean, full=full)
        if is_curve and math.isfinite(full) and whole["lesions"]
        else math.nan,
        reached=_reached(spent, mean, full) if is_curve and math.isfinite(full) else {},
        gain=_gain(grid, baseline) if is_curve and baseline is not None else None,
        against_all=_against_all(grid, reference) if is_curve and reference is not None else {},
    )


def _full_value(reference: _Grid | None) -> float:
    if reference is None:
        return math.nan
    values = [getattr(row[-1].figures, PRIMARY) for row in reference.rounds]
    return float(np.mean(values))


def _reached(
    spent: Mapping[str, NDArray[np.float64]], mean: NDArray[np.float64], full: float
) -> dict[float, dict[str, Reached]]:
    return {
        goal: {axis: budget_to_reach(spent[axis], mean, goal=goal * full) for axis in AXES}
        for goal in GOALS
    }


def _strata(grid: _Grid, folder: Path) -> dict[str, list[Figures]]:
    """Judge the last round of every seed on all sets."""
    by_set: dict[str, list[Figures]] = {}
    for row in grid.rounds:
        outcome = read_outcome(folder / OUTCOMES / f"{row[-1].outcome}.npz")
        for name, table in outcome.tables.items():
            by_set.setdefault(name, []).append(figures(table))
    return by_set


def _gain(grid: _Grid, baseline: _Grid) -> Difference | None:
    """Compare the areas over the seeds and rounds that both arms have."""
    seeds = [row[0].seed for row in grid.rounds]
    others = [row[0].seed for row in baseline.rounds]
    shared = [seed for seed in seeds if seed in others]
    if not shared:
        return None
    measured = {one.number for one in baseline.rounds[0]}
    numbers = [one.number for one in grid.rounds[0] if one.number in measured]
    if len(numbers) < 2:
        return None
    own = grid.at(numbers).tables[[seeds.index(seed) for seed in shared]]
    other = baseline.at(numbers).tables[[others.index(seed) for seed in shared]]
    budgets = np.array([one.images for one in grid.at(numbers).rounds[0]], np.float64)
    rng = np.random.default_rng(_BOOTSTRAP_SEED)
    return bootstrap_difference(own, other, _area_of(budgets), rng)


def _area_of(budgets: NDArray[np.float64]) -> Callable[[NDArray[np.float64]], float]:
    """Return the area under the mean curve of tables, shape (S, P, R, C)."""

    def area(tables: NDArray[np.float64]) -> float:
        by_round = pooled_volume_f1(np.moveaxis(tables, 2, 1))
        return area_under_budget_curve(budgets, by_round.mean(axis=0))

    return area


def _against_all(grid: _Grid, reference: _Grid) -> dict[str, Equivalence]:
    others = {row[0].seed: row[-1].figures for row in reference.rounds}
    pairs = [(row[-1].figures, others[row[0].seed]) for row in grid.rounds if row[0].seed in others]
    if len(pairs) < 2:
        return {}
    return {
        name: judge_equivalence(
            [getattr(own, name) for own, _ in pairs],
            [getattr(other, name) for _, other in pairs],
            margin=margin,
        )
        for name, margin in MARGINS.items()
    }


def _penalties(arms: Sequence[ArmResult]) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Compare the strategies over the seeds and rounds that all of them have."""
    chosen = [arm for arm in arms if arm.training == JOINT]
    shared = set.intersection(*(set(arm.seeds) for arm in chosen)) if chosen else set()
    rounds = {arm.curves[PRIMARY].shape[1] for arm in chosen}
    if len(shared) < 2 or len(rounds) != 1:
        return (), np.empty((0, 0))
    # The first round is the same training for all.
    curves = {
        arm.name: arm.curves[PRIMARY][[seed in shared for seed in arm.seeds], 1:] for arm in chosen
    }
    return tuple(curves), penalty_matrix(curves)


def _whole_cost(oracle: Oracle) -> dict[str, float]:
    return {
        "images": float(len(oracle.pool)),
        "lesions": float(oracle.lesions.sum()),
        "seconds": float(oracle.costs.seconds(oracle.lesions, is_checked=False).sum()),
    }


def _seconds(folder: Path, grids: Mapping[str, _Grid]) -> list[tuple[float, float]]:
    names = {one.outcome for grid in grids.values() for row in grid.rounds for one in row}
    outcomes = (read_outcome(folder / OUTCOMES / f"{name}.npz") for name in sorted(names))
    return [(outcome.training_s, outcome.other_s) for outcome in outcomes]
