"""Doing all trainings of a plan: each once, several at a time, resumable at any moment.

Concurrency: the calling process alone decides what is next and writes the rounds; worker
processes make patients and do trainings, each of which ends in a file of its own. What has
a file is never done again, so a run that was killed goes on where it was.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import torch

from app.errors import ConflictError
from app.settings import Settings
from app.simulation import synthetic
from app.simulation.cases import Oracle, check_budgets
from app.simulation.chains import OUTCOMES, Chain
from app.simulation.fitting import run_unit
from app.simulation.outcomes import Unit, write_outcome
from app.simulation.plan import Plan, Task
from app.simulation.user_data import load_user_oracle
from app.store.files import write_durably

PATIENTS, PLAN = "patients", "plan.json"
"""Folder of the synthetic patients and file of the plan."""


@dataclass(frozen=True)
class Progress:
    """How far a simulation is.

    Attributes:
        stage: What is being done.
        done: Steps of it that are done.
        total: Steps of it in all; of trainings at most so many, some may turn out the same.
        resumed: Steps that an earlier run had done.
    """

    stage: str
    done: int
    total: int
    resumed: int


_PATIENTS_STAGE: Final = "making patients"
_TRAINING_STAGE: Final = "training"

OnProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class _Workers:
    """Who does the work.

    Attributes:
        start: Begins a piece of work.
        jobs: Pieces at work at a time.
    """

    start: Callable[..., Future[None]]
    jobs: int


def run_plan(
    plan: Plan, folder: Path, settings: Settings, *, jobs: int, on_progress: OnProgress
) -> None:
    """Do everything a plan asks for that is not done yet.

    Args:
        plan: What to compare. Arms and seeds may be added to a folder, the task may not change.
        folder: Where everything is kept.
        settings: Settings of a deployment; its data folder is read when the task has no
            synthetic patients.
        jobs: Processes at work at a time, each with one thread; 1 works in this process.
        on_progress: Told how far it is.

    Raises:
        ConflictError: If the folder holds a simulation of another task.
        InvalidInputError: If the pool is smaller than the budgets.
    """
    _keep_plan(plan, folder)
    with _workers(plan.task, folder, settings, jobs) as workers:
        _make_patients(plan.task, folder, workers, on_progress)
        oracle = load_oracle(plan.task, folder, settings)
        check_budgets(oracle, plan.task.budgets)
        _do_trainings(plan, oracle, folder, workers, on_progress)


def load_oracle(task: Task, folder: Path, settings: Settings) -> Oracle:
    """Load the images of a simulation with all their labels."""
    if task.patients is None:
        return load_user_oracle(settings)
    return synthetic.load_oracle(task.patients, folder / PATIENTS)


def _keep_plan(plan: Plan, folder: Path) -> None:
    path = folder / PLAN
    task = {"digest": plan.task.digest, "task": asdict(plan.task)}
    if path.exists() and json.loads(path.read_bytes())["digest"] != plan.task.digest:
        raise ConflictError(
            f"{folder.name} holds a simulation of another task; choose another folder"
        )
    write_durably(path, json.dumps(task, indent=1).encode())


def _make_patients(task: Task, folder: Path, workers: _Workers, on_progress: OnProgress) -> None:
    if task.patients is None:
        return
    wanted = synthetic.orders(task.patients)
    left = synthetic.missing(wanted, folder / PATIENTS)
    resumed = len(wanted) - len(left)
    done, running = resumed, set[Future[None]]()
    while left or running:
        while left and len(running) < workers.jobs:
            order = left.pop(0)
            running.add(workers.start(synthetic.make_patient, order, folder / PATIENTS))
        finished, running = wait(running, return_when=FIRST_COMPLETED)
        for future in finished:
            future.result()
        done += len(finished)
        on_progress(Progress(_PATIENTS_STAGE, done, len(wanted), resumed))


def _do_trainings(
    plan: Plan, oracle: Oracle, folder: Path, workers: _Workers, on_progress: OnProgress
) -> None:
    """Let every chain walk as far as there are outcomes, and do the trainings they wait for."""
    chains = [
        Chain(arm, seed, plan.task, oracle, folder)
        for seed in plan.seeds
        for arm in (*plan.references(), *plan.arms)
    ]
    total = expected_trainings(plan)
    running: dict[Future[None], Unit] = {}
    known: set[Unit] = set()
    resumed = _advance(chains, folder, known)
    while waiting := [chain for chain in chains if not chain.is_done]:
        for unit in dict.fromkeys(chain.wanted for chain in waiting):
            if len(running) < workers.jobs and unit not in running.values():
                running[workers.start(do_unit, unit, folder)] = unit
        finished, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in finished:
            running.pop(future)
            future.result()
        _advance(chains, folder, known)
        on_progress(Progress(_TRAINING_STAGE, len(known), total, resumed))


def _advance(chains: Sequence[Chain], folder: Path, known: set[Unit]) -> int:
    """Walk every chain on over the outcomes that are there; returns how many are known."""
    for chain in chains:
        while not chain.is_done and chain.wanted.path(folder / OUTCOMES).exists():
            known.add(chain.wanted)
            chain.advance()
    return len(known)


def expected_trainings(plan: Plan) -> int:
    """Count the trainings of a plan, those that arms are sure to share once."""
    rounds = {
        (arm.training, number if number == 0 else (arm.strategy, number))
        for arm in plan.arms
        for number in (arm.rounds or range(len(plan.task.budgets)))
    }
    return len(plan.seeds) * (len(rounds) + len(plan.references()))


@dataclass
class _Process:
    """What a worker process keeps between its trainings."""

    task: Task
    settings: Settings
    folder: Path
    oracle: Oracle | None = None


_PROCESS: list[_Process] = []
"""Set once by `start_process`; a list, so that no global is assigned."""


def start_process(task: Task, settings: Settings, folder: Path) -> None:
    """Prepare a process: one thread, for several processes share the cores."""
    torch.set_num_threads(1)
    _PROCESS[:] = [_Process(task, settings, folder)]


def do_unit(unit: Unit, folder: Path) -> None:
    """Do a training in a process prepared by `start_process`, and keep its outcome."""
    process = _PROCESS[0]
    if process.oracle is None:
        process.oracle = load_oracle(process.task, process.folder, process.settings)
    outcome = run_unit(unit, process.task, process.oracle, process.settings)
    write_outcome(unit.path(folder / OUTCOMES), outcome)


def _do_here(work: Callable[..., None], *arguments: object) -> Future[None]:
    """Do some work in this process, at once."""
    future: Future[None] = Future()
    work(*arguments)
    future.set_result(None)
    return future


@contextmanager
def _workers(task: Task, folder: Path, settings: Settings, jobs: int) -> Iterator[_Workers]:
    if jobs == 1:
        threads = torch.get_num_threads()
        start_process(task, settings, folder)
        try:
            yield _Workers(_do_here, 1)
        finally:
            torch.set_num_threads(threads)
        return
    # A forked process would inherit locks of torch's threads.
    executor = ProcessPoolExecutor(
        jobs, get_context("spawn"), start_process, (task, settings, folder)
    )
    try:
        yield _Workers(executor.submit, jobs)
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
