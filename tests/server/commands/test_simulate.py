"""The command line of a simulation."""

import argparse
import io
from pathlib import Path

import pytest

from app.simulation.running import Progress
from server.cli import main
from server.commands import simulate
from server.demo.narration import Narrator


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    simulate.add_arguments(parser)
    return parser.parse_args(["out", *words])


def test_all_arms_are_compared_by_default() -> None:
    plan = simulate._plan(parsed(), simulate._task(parsed()))
    names = [arm.name for arm in plan.arms]
    assert names[:2] == ["random", "stratified"]
    assert {"uncertainty", "joint_fixed", "single_task", "sequential"} <= set(names)
    assert plan.seeds == (1, 2, 3, 4, 5)


def test_trainings_alone_leave_the_strategies_out() -> None:
    arguments = parsed("--compare", "trainings", "--seeds", "2")
    plan = simulate._plan(arguments, simulate._task(arguments))
    assert {arm.strategy for arm in plan.arms} == {"random"}
    assert {arm.rounds for arm in plan.arms} == {(0, 2, 4)}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--strategies", "best"], "no strategy 'best'"),
        (["--seeds", "0"], "at least one seed"),
        (["--budgets", "4,8"], "--budgets needs --data"),
        (["--report"], "holds no simulation"),
    ],
)
def test_what_makes_no_sense_is_refused(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", str(tmp_path / "out"), *words]) == 2
    assert sentence in capsys.readouterr().err


def test_the_bar_tells_how_much_time_is_left() -> None:
    now, stream = iter([100.0, 110.0]), io.StringIO()
    said = iter(range(0, 1000, 20))
    draw = simulate.progress_line(Narrator(stream, lambda: float(next(said))), lambda: next(now))
    draw(Progress("training", 6, 12, 5))
    draw(Progress("training", 7, 12, 5))
    # Ten seconds for one, five are left.
    assert "7/12, 0:50 left" in stream.getvalue()
    assert "[##############..........]" in stream.getvalue()
