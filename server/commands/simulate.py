"""``caclabel simulate``: which strategy and which training learn most from how many labels."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Final

from app.errors import CacLabelError, InvalidInputError
from app.settings import Settings, load_settings
from app.simulation import report
from app.simulation.analysis import analyse
from app.simulation.chains import read_rounds
from app.simulation.plan import Arm, Plan, Task, compared_strategies, strategy_arms
from app.simulation.profiles import TASKS, USER_TASK, training_arms, training_baseline
from app.simulation.running import PLAN, Progress, load_oracle, run_plan
from app.simulation.tables import tables, write_csv
from app.store.files import write_durably
from server.bench.machine import machine_facts
from server.demo.narration import Narrator
from server.page_section import put_section

DESCRIPTION: Final = "compare strategies and trainings against an oracle, with all statistics"

REPORT, RUNS = "report.html", "runs.json"
"""Files in the folder of a simulation."""

_BAR: Final = 24
"""Characters of the progress bar."""

_SECONDS_PER_MINUTE: Final = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what is compared, on what, and where the results go."""
    parser.add_argument("out", type=Path, help="folder of the results; a run goes on where it was")
    parser.add_argument("--profile", choices=tuple(TASKS), default="small", help="synthetic task")
    parser.add_argument(
        "--data", type=Path, help="take the labeled images of this data folder instead"
    )
    parser.add_argument(
        "--compare",
        choices=("strategies", "trainings", "all"),
        default="all",
        help="what differs between the arms (default: %(default)s)",
    )
    parser.add_argument(
        "--strategies", metavar="A,B", help="only these and random (default: all of the server)"
    )
    parser.add_argument(
        "--budgets", type=_numbers, metavar="N,M", help="labels in each round, with --data"
    )
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="processes of one thread each"
    )
    parser.add_argument("--device", default="cpu", help="`cpu` or `cuda` (default: %(default)s)")
    parser.add_argument("--report", action="store_true", help="train nothing, write the report")
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="write the tables into this page as well"
    )


def run(arguments: argparse.Namespace) -> int:
    """Do what is not done yet, then write report, pictures and tables."""
    narrator = Narrator(sys.stderr)
    task, settings = _task(arguments), _settings(arguments)
    folder: Path = arguments.out
    if not arguments.report:
        _simulate(_plan(arguments, task), folder, settings, arguments, narrator)
    elif not (folder / PLAN).exists():
        raise InvalidInputError(f"{folder.name} holds no simulation")
    narrator.say("computing statistics")
    _write_results(folder, task, settings, arguments)
    narrator.say(f"report in {folder / REPORT}")
    return 0


def _simulate(
    plan: Plan,
    folder: Path,
    settings: Settings,
    arguments: argparse.Namespace,
    narrator: Narrator,
) -> None:
    started = time.monotonic()
    is_refused = False
    try:
        run_plan(plan, folder, settings, jobs=arguments.jobs, on_progress=progress_line(narrator))
    except CacLabelError:
        # The time and the command are none of this simulation's.
        is_refused = True
        raise
    finally:
        if not is_refused:
            _note_run(folder, arguments, time.monotonic() - started)


def progress_line(
    narrator: Narrator, clock: Callable[[], float] = time.monotonic
) -> Callable[[Progress], None]:
    """Return what draws the progress bar with the time that is left."""
    begun: dict[str, float] = {}

    def draw(progress: Progress) -> None:
        now = clock()
        since = begun.setdefault(progress.stage, now)
        filled = _BAR * progress.done // max(progress.total, 1)
        text = f"{progress.stage} [{'#' * filled}{'.' * (_BAR - filled)}]"
        text += f" {progress.done}/{progress.total}"
        # The first step since the start tells the clock, the second its pace.
        paced = progress.done - progress.resumed - 1
        if paced > 0:
            left = (progress.total - progress.done) * (now - since) / paced
            text += f", {_minutes(left)} left"
        narrator.progress(text)

    return draw


def _write_results(
    folder: Path, task: Task, settings: Settings, arguments: argparse.Namespace
) -> None:
    analysis = analyse(folder, load_oracle(task, folder, settings))
    facts = machine_facts()
    runs = json.loads((folder / RUNS).read_text()) if (folder / RUNS).exists() else []
    about = report.Run(
        command="; ".join(dict.fromkeys(one["command"] for one in runs)) or _command(arguments),
        minutes=sum(one["seconds"] for one in runs) / _SECONDS_PER_MINUTE,
        jobs=runs[-1]["jobs"] if runs else arguments.jobs,
        processor=f"{facts['processor']}, {facts['cores']} cores",
        version=version("caclabel"),
    )
    write_csv(folder, read_rounds(folder), tables(analysis))
    write_durably(folder / REPORT, report.render(analysis, task, about).encode())
    if arguments.markdown:
        put_section(arguments.markdown, report.markdown(analysis, task, about))


def _task(arguments: argparse.Namespace) -> Task:
    """Return what is learned.

    Raises:
        InvalidInputError: If budgets are given for a synthetic task, whose tables are fixed.
    """
    if arguments.data is None and arguments.budgets:
        raise InvalidInputError("--budgets needs --data; a profile has budgets of its own")
    if arguments.data is None:
        return TASKS[arguments.profile]
    return replace(USER_TASK, budgets=arguments.budgets or USER_TASK.budgets)


def _plan(arguments: argparse.Namespace, task: Task) -> Plan:
    """Return what is compared.

    Raises:
        InvalidInputError: If a number is too small or a strategy unknown.
    """
    if arguments.seeds < 1 or arguments.jobs < 1:
        raise InvalidInputError("expected at least one seed and one process")
    chosen = compared_strategies()
    if arguments.strategies:
        chosen = tuple(dict.fromkeys(("random", *arguments.strategies.split(","))))
    arms: tuple[Arm, ...] = strategy_arms(chosen)
    if arguments.compare == "trainings":
        arms = (training_baseline(task.budgets),)
    if arguments.compare != "strategies":
        arms += training_arms(task.budgets)
    return Plan(task, arms, tuple(range(1, arguments.seeds + 1)))


def _settings(arguments: argparse.Namespace) -> Settings:
    profile = "small" if arguments.data is None else None
    return load_settings(data=arguments.data, device=arguments.device, profile=profile)


def _note_run(folder: Path, arguments: argparse.Namespace, seconds: float) -> None:
    """Keep how long a run took, also one that was broken off."""
    path = folder / RUNS
    runs = json.loads(path.read_text()) if path.exists() else []
    runs.append(
        {"command": _command(arguments), "seconds": round(seconds, 1), "jobs": arguments.jobs}
    )
    write_durably(path, json.dumps(runs, indent=1).encode())


def _command(arguments: argparse.Namespace) -> str:
    words = ["caclabel simulate", "OUT"]
    words += ["--data DATA"] if arguments.data else [f"--profile {arguments.profile}"]
    if arguments.compare != "all":
        words.append(f"--compare {arguments.compare}")
    if arguments.strategies:
        words.append(f"--strategies {arguments.strategies}")
    return " ".join([*words, f"--seeds {arguments.seeds} --jobs {arguments.jobs}"])


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers like 10,20,40, got {text!r}") from None


def _minutes(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"
