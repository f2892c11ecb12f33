"""A whole simulation on a task that trains in no time."""

import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from app.errors import ConflictError, InvalidInputError
from app.simulation.analysis import analyse
from app.simulation.cases import Oracle
from app.simulation.chains import read_rounds
from app.simulation.plan import FULL, Plan, strategy_arms
from app.simulation.running import Progress, load_oracle, run_plan
from tests.app.simulation.small_task import (
    PLAN,
    SETTINGS,
    TASK,
    contents,
    outcome_times,
    write_patients,
)

DEADLINE_S = 120.0


def ignore(_: Progress) -> None:
    pass


def run(folder: Path) -> None:
    run_plan(PLAN, folder, SETTINGS, jobs=1, on_progress=ignore)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    write_patients(folder)
    run(folder)
    return folder


@pytest.fixture(scope="module")
def oracle(finished: Path) -> Oracle:
    return load_oracle(TASK, finished, SETTINGS)


def test_every_round_of_every_arm_and_seed_is_there(finished: Path) -> None:
    found = {(one.arm, one.seed, one.number, one.images) for one in read_rounds(finished)}
    rounds = {(arm, seed, n, (2, 4)[n]) for arm in ("random", "uncertainty")
              for seed in (1, 2) for n in (0, 1)}  # fmt: skip
    assert found == rounds | {(FULL, seed, 0, 7) for seed in (1, 2)}


def test_arms_of_a_seed_start_with_the_same_labels_and_model(finished: Path) -> None:
    starts = [one for one in read_rounds(finished) if one.number == 0 and one.arm != FULL]
    for seed in (1, 2):
        own = [one for one in starts if one.seed == seed]
        assert len({one.places for one in own}) == 1
        assert len({one.outcome for one in own}) == 1
    assert len({one.outcome for one in starts}) == 2


def test_later_rounds_keep_the_labels_they_have(finished: Path) -> None:
    for arm in ("random", "uncertainty"):
        first, second = (one for one in read_rounds(finished) if (one.arm, one.seed) == (arm, 1))
        assert set(first.places) < set(second.places)
        assert second.lesions >= first.lesions


def test_first_labels_cost_more_than_corrected_ones(finished: Path, oracle: Oracle) -> None:
    first, second = (one for one in read_rounds(finished) if (one.arm, one.seed) == ("random", 2))
    # 59 s at the median number of lesions without a proposal, 36 s with; 6 s a lesion.
    more = first.lesions - 2 * oracle.costs.median_lesions
    assert first.seconds == pytest.approx(2 * 59 + 6 * more)
    new = second.lesions - first.lesions - 2 * oracle.costs.median_lesions
    assert second.seconds - first.seconds == pytest.approx(2 * 36 + 6 * new)


def test_a_finished_run_trains_nothing_again(finished: Path) -> None:
    before = outcome_times(finished)
    seen: list[Progress] = []
    run_plan(PLAN, finished, SETTINGS, jobs=1, on_progress=seen.append)
    assert outcome_times(finished) == before
    assert not seen


def test_a_killed_run_goes_on_and_ends_as_if_nothing_had_happened(
    finished: Path, tmp_path: Path
) -> None:
    write_patients(tmp_path)
    child = multiprocessing.get_context("spawn").Process(target=run, args=(tmp_path,))
    child.start()
    deadline = time.monotonic() + DEADLINE_S
    while len(list(tmp_path.glob("outcomes/*.npz"))) < 2 and time.monotonic() < deadline:
        child.join(0.01)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    done = outcome_times(tmp_path)
    assert 2 <= len(done) < len(outcome_times(finished))
    run(tmp_path)
    after = outcome_times(tmp_path)
    assert {name: after[name] for name in done if name.endswith(".npz")} == {
        name: when for name, when in done.items() if name.endswith(".npz")
    }
    whole = contents((finished / "rounds").glob("*.json"))
    # The same labels, models and figures to the last digit.
    assert contents((tmp_path / "rounds").glob("*.json")) == whole


def test_another_task_in_the_same_folder_is_refused(finished: Path) -> None:
    other = Plan(replace(TASK, steps=4), PLAN.arms, PLAN.seeds)
    with pytest.raises(ConflictError, match="another task"):
        run_plan(other, finished, SETTINGS, jobs=1, on_progress=ignore)


def test_a_pool_that_the_budget_empties_is_refused(finished: Path, tmp_path: Path) -> None:
    write_patients(tmp_path)
    greedy = Plan(replace(TASK, budgets=(2, 7)), strategy_arms(("random",)), (1,))
    with pytest.raises(InvalidInputError, match="more than 7 images"):
        run_plan(greedy, tmp_path, SETTINGS, jobs=1, on_progress=ignore)


def test_the_analysis_pairs_arms_and_reference(finished: Path, oracle: Oracle) -> None:
    found = analyse(finished, oracle)
    random, uncertainty = found.arms
    assert (random.name, uncertainty.name) == ("random", "uncertainty")
    assert random.gain is None
    assert uncertainty.gain is not None
    # The mean of two trapezoids, of the first round that both share and of the second.
    difference = (uncertainty.curves["volume_f1"] - random.curves["volume_f1"])[:, 1].mean() / 2
    assert uncertainty.gain.value == pytest.approx(difference)
    assert set(random.strata) == {"test", "clean", "noise", "motion", "metal"}
    assert found.references["joint_uncertainty"].spent["images"].tolist() == [7.0]
    assert found.whole["images"] == 7.0
