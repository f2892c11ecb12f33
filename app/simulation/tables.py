"""The figures of a simulation as tables, for the report, for Markdown and as CSV."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.simulation.analysis import (
    GOALS,
    PRIMARY,
    Analysis,
    ArmResult,
    corrected_p,
    spread,
)
from app.simulation.cases import TEST
from app.simulation.chains import Round
from app.simulation.judging import FIGURES
from app.simulation.plan import JOINT
from app.simulation.profiles import SINGLE_TASK
from app.simulation.synthetic import STRATA
from app.store.files import write_durably

FIGURE_TITLES: Final[Mapping[str, str]] = {
    "volume_f1": "volume F1",
    "lesion_f1": "lesion F1",
    "agatston_icc": "Agatston ICC",
    "agatston_mae": "Agatston error",
    "category_kappa": "category kappa",
    "false_calcium": "false calcium in score 0",
    "region_dice": "region Dice",
}
"""What the columns of the figures are called."""

_SMALLEST_P: Final = 0.0005
"""Chances below it are shown as such."""

_WHOLE_NUMBERS: Final = ("agatston_mae", "false_calcium")


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        title: What it shows.
        header: Name of each column.
        rows: Cells; the first column names the row.
        note: What must be known to read it.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str


def tables(analysis: Analysis) -> tuple[Table, ...]:
    """Return all tables that there are results for."""
    found = (
        _strategy_table(analysis),
        _goal_table(analysis),
        _penalty_table(analysis),
        _training_table(analysis),
        _strata_table(analysis),
    )
    return tuple(table for table in found if table is not None)


def write_csv(folder: Path, rounds: Sequence[Round], found: Sequence[Table]) -> None:
    """Write a row for every round, and every table as it is shown."""
    header = ("arm", "strategy", "training", "seed", "round", "images", "lesions", "seconds")
    rows = []
    for one in rounds:
        who = (one.arm, one.strategy, one.training, one.seed, one.number)
        judged = (getattr(one.figures, name) for name in FIGURES)
        rows.append((*who, one.images, one.lesions, one.seconds, *judged))
    _write(folder / "rounds.csv", (*header, *FIGURES), rows)
    for table in found:
        name = "".join(letter if letter.isalnum() else "-" for letter in table.title.lower())
        _write(folder / f"{name}.csv", table.header, table.rows)


def _strategy_table(analysis: Analysis) -> Table | None:
    arms = analysis.strategies()
    if len(arms) < 2:
        return None
    shown = [name for name in FIGURES if name != "region_dice"]
    budgets = arms[0].spent["images"]
    header = ("strategy", "seeds", "area under the curve", "against random (95 %)", "p (Holm)")
    by_round = tuple(f"F1 at {budget:.0f}" for budget in budgets[:-1])
    last = tuple(f"{FIGURE_TITLES[name]} at {budgets[-1]:.0f}" for name in shown)
    corrected = corrected_p(arms)
    rows = [_strategy_row(arm, shown, corrected.get(arm.name)) for arm in arms]
    if JOINT in analysis.references:
        rows.append(_reference_row(analysis.references[JOINT], shown, len(by_round)))
    return Table(
        "Strategies",
        (*header, *by_round, *last),
        tuple(rows),
        "Area under the volume F1 over the number of labels, 0 to 1. The difference against"
        " random is that of the areas, with the interval of a bootstrap over the same seeds and"
        " patients; p is corrected by Holm for the number of strategies. Mean and standard"
        " deviation over seeds. All arms of a seed start with the same labels.",
    )


def _strategy_row(arm: ArmResult, shown: Sequence[str], p_value: float | None) -> tuple[str, ...]:
    return (
        arm.name,
        str(len(arm.seeds)),
        f"{arm.area:.3f}",
        _interval(arm),
        "" if p_value is None else _p(p_value),
        *(_spread(arm.curves[PRIMARY][:, at]) for at in range(len(arm.spent["images"]) - 1)),
        *(_last(arm, name) for name in shown),
    )


def _reference_row(arm: ArmResult, shown: Sequence[str], empty: int) -> tuple[str, ...]:
    cells = (f"{arm.name} ({arm.spent['images'][-1]:.0f})", str(len(arm.seeds)))
    return (*cells, *[""] * (3 + empty), *(_last(arm, name) for name in shown))


def _goal_table(analysis: Analysis) -> Table | None:
    arms = [arm for arm in analysis.strategies() if arm.reached]
    if not arms:
        return None
    header = ["strategy"]
    for goal in GOALS:
        header += [f"{goal:.0%} of all: labels", "share of the pool", "hours"]
    header += ["FG-Eff", "not worse than all, p", "equal to all, p"]
    rows = [_goal_row(arm, analysis) for arm in arms]
    return Table(
        "Labels and time to reach what all labels reach",
        tuple(header),
        tuple(rows),
        "Read from the mean curve, made monotone; > says that the curve ends before. Hours of a"
        " person by the cost model (59 s a scan without a model's proposal, 36 s with, both for"
        " the scan with the median number of lesions, 6 s for each lesion more). FG-Eff: how fast"
        " the curve nears all labels, over the share of the pool's lesions. The last columns test"
        " the last round's volume F1 over seeds against a margin of 0.01 that was stated before"
        " (non-inferiority, and both sides: TOST); only a p below 0.05 says so.",
    )


def _goal_row(arm: ArmResult, analysis: Analysis) -> tuple[str, ...]:
    cells = [arm.name]
    for goal in GOALS:
        images, seconds = arm.reached[goal]["images"], arm.reached[goal]["seconds"]
        sign = "> " if images.is_censored else ""
        share = images.at / analysis.whole["images"]
        cells += [f"{sign}{images.at:.1f}", f"{sign}{share:.0%}", f"{sign}{seconds.at / 3600:.2f}"]
    equal = arm.against_all.get(PRIMARY)
    tests = ("", "") if equal is None else (_p(equal.p_not_worse), _p(equal.p_equal))
    return (*cells, _number(arm.efficiency), *tests)


def _penalty_table(analysis: Analysis) -> Table | None:
    names, wins = analysis.penalties
    if len(names) < 2:
        return None
    rows = tuple(
        (name, *(f"{value:.2f}" for value in wins[place])) for place, name in enumerate(names)
    )
    return Table(
        "How often a strategy clearly beats another",
        ("row beats column", *names),
        rows,
        "Share of the rounds after the start in which the strategy of the row is better than"
        " that of the column, by paired t tests over seeds, all corrected together by Holm.",
    )


def _training_table(analysis: Analysis) -> Table | None:
    arms = analysis.trainings_compared()
    if len(arms) < 2:
        return None
    budgets = arms[-1].spent["images"]
    corrected = corrected_p(arms)
    header = ("training", "seeds", "against joint_uncertainty (95 %)", "p (Holm)")
    by_round = tuple(f"F1 at {budget:.0f}" for budget in budgets)
    shown = [name for name in FIGURES if name != PRIMARY]
    last = tuple(f"{FIGURE_TITLES[name]} at {budgets[-1]:.0f}" for name in shown)
    rows = [
        (
            arm.training,
            str(len(arm.seeds)),
            _interval(arm),
            _p(corrected[arm.name]) if arm.name in corrected else "",
            *(_at(arm, budget) for budget in budgets),
            _last(analysis.references[arm.training], PRIMARY)
            if arm.training in analysis.references
            else "",
            *(
                # Without a region task the arteries mean nothing.
                "-" if (arm.training, name) == (SINGLE_TASK, "region_dice") else _last(arm, name)
                for name in shown
            ),
        )
        for arm in arms
    ]
    return Table(
        "Trainings",
        (*header, *by_round, f"F1 at all {analysis.pool}", *last),
        tuple(rows),
        "The same random labels for all trainings: joint_uncertainty learns artery regions and"
        " calcium together and the weights of both from uncertainty, joint_fixed weighs both one,"
        " single_task learns calcium alone, sequential learns regions first and then calcium on"
        " what was found for them. Mean and standard deviation over seeds.",
    )


def _interval(arm: ArmResult) -> str:
    gain = arm.gain
    return "" if gain is None else f"{gain.value:+.3f} ({gain.lower:+.3f} to {gain.upper:+.3f})"


def _at(arm: ArmResult, budget: float) -> str:
    places = [at for at, images in enumerate(arm.spent["images"]) if images == budget]
    return _spread(arm.curves[PRIMARY][:, places[0]]) if places else ""


def _strata_table(analysis: Analysis) -> Table | None:
    arms = (*analysis.arms, *analysis.references.values())
    sets = [name for name in STRATA if all(name in arm.strata for arm in arms)]
    if not sets:
        return None
    header = ["arm, last round"]
    for name in sets:
        header += [f"{name}: volume F1", "ICC", "false calcium"]
    rows = []
    for arm in arms:
        cells = [arm.name]
        for name in sets:
            for figure in (PRIMARY, "agatston_icc", "false_calcium"):
                values = [getattr(one, figure) for one in arm.strata[name]]
                cells.append(_number(sum(values) / len(values)))
        rows.append(tuple(cells))
    return Table(
        "Noise, motion and metal",
        tuple(header),
        tuple(rows),
        "The same patients scanned four times: at rest with a usual dose (14 HU of noise) and"
        " without metal; with 35 HU of noise; with the right coronary artery moving by 5 mm; with"
        f" a pacemaker lead. Means over seeds; {TEST} patients are others.",
    )


def _last(arm: ArmResult, figure: str) -> str:
    mean, deviation = arm.last(figure)
    if figure in _WHOLE_NUMBERS:
        return f"{mean:.1f} ± {deviation:.1f}"
    return f"{mean:.3f} ± {deviation:.3f}" if math.isfinite(mean) else "-"


def _spread(values: NDArray[np.float64]) -> str:
    mean, deviation = spread(values)
    return f"{mean:.3f} ± {deviation:.3f}"


def _p(value: float) -> str:
    return "< 0.001" if value < _SMALLEST_P else f"{value:.3f}"


def _number(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "-"


def _write(path: Path, header: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(header)
    writer.writerows(rows)
    write_durably(path, buffer.getvalue().encode())
