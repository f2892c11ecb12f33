"""The report of a simulation: one HTML page for a reader who knows hearts, not networks."""

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from app.simulation import plots
from app.simulation.analysis import PRIMARY, Analysis, ArmResult, corrected_p
from app.simulation.comparisons import SIGNIFICANCE
from app.simulation.plan import JOINT, RANDOM, Task
from app.simulation.tables import Table, tables


@dataclass(frozen=True)
class Run:
    """How a simulation was run.

    Attributes:
        command: Command that ran it.
        minutes: Minutes on the wall, all runs together.
        jobs: Processes at work.
        processor: Processor it ran on.
        version: Version of the program.
    """

    command: str
    minutes: float
    jobs: int
    processor: str
    version: str


def render(analysis: Analysis, task: Task, run: Run) -> str:
    """Return the page, which links to nothing."""
    environment = Environment(
        loader=PackageLoader("app.simulation"), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["picture"] = _as_data_uri
    compared = [arm for arm in analysis.strategies() if arm.gain is not None]
    trainings = [arm for arm in analysis.trainings_compared() if arm.gain is not None]
    return environment.get_template("report.html.j2").render(
        analysis=analysis,
        task=task,
        run=run,
        findings=findings(analysis),
        headline=_headline(analysis),
        curves=plots.learning_curves(analysis),
        gains=plots.gains(compared, "random") if compared else None,
        trainings=plots.gains(trainings, "joint training") if trainings else None,
        strata=plots.strata(analysis),
        tables=tables(analysis),
    )


def findings(analysis: Analysis) -> tuple[str, ...]:
    """Say in sentences what the figures show, also where they show nothing."""
    said = [
        *_on_strategies([arm for arm in analysis.strategies() if arm.gain is not None]),
        *_on_labels(analysis),
        *_on_trainings([arm for arm in analysis.trainings_compared() if arm.gain is not None]),
    ]
    return tuple(said) or ("There are too few results yet to say anything.",)


def _on_strategies(arms: Sequence[ArmResult]) -> list[str]:
    if not arms:
        return []
    better, worse = _clear(arms)
    best = max(arms, key=lambda arm: arm.area)
    said = [
        f"Highest curve: {best.name}, area {best.area:.3f}"
        + (f", {best.gain.value:+.3f} against random." if best.gain is not None else ".")
    ]
    if better:
        said.append(f"Clearly better than random labels: {_listed(better)}.")
    else:
        said.append(
            "No strategy is clearly better than random labels, once the number of comparisons"
            " is counted."
        )
    if worse:
        said.append(f"Clearly worse than random labels: {_listed(worse)}.")
    return said


def _clear(arms: Sequence[ArmResult]) -> tuple[list[ArmResult], list[ArmResult]]:
    """Return the arms that are better and worse than their baseline, corrected by Holm."""
    p_values = corrected_p(arms)
    clear = [arm for arm in arms if p_values.get(arm.name, 1.0) < SIGNIFICANCE]
    better = [arm for arm in clear if arm.gain is not None and arm.gain.value > 0]
    return better, [arm for arm in clear if arm not in better]


def _on_labels(analysis: Analysis) -> list[str]:
    arms = [arm for arm in analysis.strategies() if arm.reached]
    baseline = next((arm for arm in arms if arm.name == RANDOM), None)
    if baseline is None:
        return []
    said = []
    goal = 0.95
    reaching = [arm for arm in arms if not arm.reached[goal]["images"].is_censored]
    if reaching:
        first = min(reaching, key=lambda arm: arm.reached[goal]["seconds"].at)
        share = first.reached[goal]["images"].at / analysis.whole["images"]
        time = first.reached[goal]["seconds"].at / analysis.whole["seconds"]
        said.append(
            f"95 % of what all {analysis.pool} labels reach took least time with {first.name}:"
            f" {share:.0%} of the labels and {time:.0%} of the time that labeling all scans"
            f" without a model takes; random needed {baseline.reached[goal]['images']} labels."
        )
    else:
        said.append("No strategy reached 95 % of what all labels reach within the budget.")
    equal = [
        arm
        for arm in arms
        if PRIMARY in arm.against_all and arm.against_all[PRIMARY].p_not_worse < 0.05
    ]
    if equal:
        said.append(f"As good as all labels within the stated margin: {_listed(equal)}.")
    else:
        said.append(
            "For no strategy was it shown that its last round is as good as all labels within"
            " the margin of 0.01."
        )
    return said


def _on_trainings(arms: Sequence[ArmResult]) -> list[str]:
    said = []
    better, worse = _clear(arms)
    for arm in arms:
        if arm.gain is None or arm.training == JOINT:
            continue
        word = "not clearly different from"
        if arm in better:
            word = "clearly better than"
        elif arm in worse:
            word = "clearly worse than"
        said.append(
            f"Training {arm.training} is {word} joint training with uncertainty weights"
            f" ({arm.gain.value:+.3f}, {arm.gain.lower:+.3f} to {arm.gain.upper:+.3f})."
        )
    return said


def markdown(analysis: Analysis, task: Task, run: Run) -> str:
    """Return the section of docs/benchmarks.md."""
    seeds = max(len(arm.seeds) for arm in analysis.arms)
    lines = [
        "## Simulated active learning",
        "",
        f"`{run.command}`: {analysis.trainings} trainings, {seeds} seeds, {run.minutes:.0f} minutes"
        f" with {run.jobs} processes on {run.processor}; {analysis.training_s:.0f} processor"
        f" seconds a training, {analysis.other_s:.0f} to judge it and predict the pool."
        f" {_about(analysis, task)} How to read it: [docs/simulation.md](simulation.md).",
        "",
        *(f"- {finding}" for finding in findings(analysis)),
        "",
    ]
    for table in tables(analysis):
        lines += _markdown_table(table)
    return "\n".join(lines)


def _about(analysis: Analysis, task: Task) -> str:
    budgets = ", ".join(map(str, task.budgets))
    text = (
        f"An oracle labels {budgets} of {analysis.pool} scans; each round trains the network"
        f" `{task.network}` from scratch; models are judged on {analysis.test} other patients."
    )
    if task.patients is None:
        return text
    size = "x".join(map(str, reversed(task.patients.size)))
    return f"{text} Synthetic patients of {size} voxels (seed {task.patients.seed})."


def _markdown_table(table: Table) -> list[str]:
    return [
        f"### {table.title}",
        "",
        table.note,
        "",
        "| " + " | ".join(table.header) + " |",
        "|---" + "|---:" * (len(table.header) - 1) + "|",
        *("| " + " | ".join(row) + " |" for row in table.rows),
        "",
    ]


def _headline(analysis: Analysis) -> list[tuple[str, str]]:
    """Return the figures at the top of the page with what they are."""
    cells = [(str(analysis.trainings), "models trained from scratch")]
    arms = [arm for arm in analysis.strategies() if math.isfinite(arm.area)]
    for arm in arms:
        if arm.name == RANDOM:
            cells.append((f"{arm.last(PRIMARY)[0]:.2f}", "volume F1, random, last round"))
    others = [arm for arm in arms if arm.name != RANDOM]
    if others:
        best = max(others, key=lambda arm: arm.area)
        cells.append((f"{best.last(PRIMARY)[0]:.2f}", f"volume F1, {best.name}, last round"))
    if JOINT in analysis.references:
        value = analysis.references[JOINT].last(PRIMARY)[0]
        cells.append((f"{value:.2f}", f"volume F1 with all {analysis.pool} labels"))
    return cells


def _listed(arms: Sequence[ArmResult]) -> str:
    return ", ".join(arm.name for arm in sorted(arms, key=lambda arm: -arm.area))


def _as_data_uri(svg: bytes) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()
