"""Report and tables of results that were made up to be known."""

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from app.simulation.analysis import Analysis, ArmResult
from app.simulation.chains import Round
from app.simulation.comparisons import Difference, Equivalence
from app.simulation.curves import Reached
from app.simulation.judging import FIGURES, Figures
from app.simulation.report import Run, findings, markdown, render
from app.simulation.synthetic import STRATA
from app.simulation.tables import tables, write_csv
from tests.app.simulation.small_task import TASK

RUN = Run("caclabel simulate OUT <b>", 12.0, 2, "a processor", "0.1.0")
FIGURE = Figures(0.8, 0.7, 0.9, 12.0, 0.75, 3.0, 0.6)
GOALS = (0.95, 0.98, 1.0)


def arm(
    name: str, level: float, gain: Difference | None, training: str = "joint_uncertainty"
) -> ArmResult:
    strategy = name if training == "joint_uncertainty" else "random"
    reached = {axis: Reached(4.0, level < 0.6) for axis in ("images", "lesions", "seconds")}
    return ArmResult(
        name=name,
        strategy=strategy,
        training=training,
        seeds=(1, 2),
        spent={axis: np.array([2.0, 4.0]) for axis in ("images", "lesions", "seconds")},
        curves={figure: np.array([[0.4, level], [0.4, level + 0.02]]) for figure in FIGURES},
        strata={name: [FIGURE, FIGURE] for name in ("test", *STRATA)},
        area=(0.4 + level + 0.01) / 2,
        efficiency=3.25,
        reached=dict.fromkeys(GOALS, reached),
        gain=gain,
        against_all={"volume_f1": Equivalence(-0.01, 0.01, 0.6, 0.7)},
    )


@pytest.fixture
def analysis() -> Analysis:
    return Analysis(
        arms=(
            arm("random", 0.5, None),
            arm("bald", 0.7, Difference(0.1, 0.05, 0.15, 0.001)),
            arm("clasp", 0.6, Difference(0.05, 0.002, 0.1, 0.03)),
            arm("power", 0.6, Difference(0.05, 0.001, 0.1, 0.04)),
            arm("single_task", 0.4, Difference(-0.05, -0.09, -0.02, 0.002), "single_task"),
        ),
        references={"joint_uncertainty": arm("all labels", 0.8, None)},
        penalties=(("random", "bald"), np.array([[0.0, 0.0], [0.25, 0.0]])),
        whole={"images": 7.0, "lesions": 9.0, "seconds": 400.0},
        pool=7,
        test=4,
        trainings=12,
        training_s=1.0,
        other_s=2.0,
    )


class Links(HTMLParser):
    """Collects what a page loads from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, _: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [
            value or ""
            for name, value in attrs
            if name in ("src", "href")
            and not (value or "").startswith("data:image/svg+xml;base64,")
        ]


def test_the_page_needs_nothing_from_elsewhere_and_escapes(analysis: Analysis) -> None:
    page = render(analysis, TASK, RUN)
    links = Links()
    links.feed(page)
    assert links.found == []
    assert page.count("data:image/svg+xml") == 4
    assert "<b>" not in page.split("How it was run")[1]


def test_only_what_stays_clear_after_correction_is_called_so(analysis: Analysis) -> None:
    said = " ".join(findings(analysis))
    assert "Clearly better than random labels: bald." in said
    assert "single_task is clearly worse" in said
    assert "For no strategy was it shown" in said


def test_no_difference_is_said_as_well(analysis: Analysis) -> None:
    nothing = Difference(0.01, -0.05, 0.07, 0.8)
    arms = tuple(replace(one, gain=one.gain and nothing) for one in analysis.arms)
    said = " ".join(findings(replace(analysis, arms=arms)))
    assert "No strategy is clearly better" in said
    assert "single_task is not clearly different" in said


def test_holm_counts_the_strategies(analysis: Analysis) -> None:
    strategies = tables(analysis)[0]
    # Three strategies: 0.001 thrice, 0.03 twice, 0.04 once but not below the one before.
    p_values = {row[0]: row[4] for row in strategies.rows if row[4]}
    assert p_values == {"bald": "0.003", "clasp": "0.060", "power": "0.060"}


def test_goals_that_were_not_reached_are_censored(analysis: Analysis) -> None:
    goals = {row[0]: row for row in tables(analysis)[1].rows}
    assert goals["random"][1:3] == ("> 4.0", "> 57%")
    assert goals["bald"][1:3] == ("4.0", "57%")


def test_markdown_holds_every_table_with_equally_long_rows(analysis: Analysis) -> None:
    text = markdown(analysis, TASK, RUN)
    assert text.count("### ") == len(tables(analysis)) == 5
    lines = [line for line in text.splitlines() if line.startswith("|")]
    starts = [place for place, line in enumerate(lines) if line.startswith("|---")]
    for start, end in zip(starts, [*(place - 1 for place in starts[1:]), len(lines)], strict=True):
        assert len({line.count("|") for line in lines[start - 1 : end]}) == 1


def test_csv_has_a_row_for_every_round(analysis: Analysis, tmp_path: Path) -> None:
    one = Round("bald", "bald", "joint_uncertainty", 1, 0, (1, 2), 2, 3, 118.0, "x", FIGURE)
    write_csv(tmp_path, [one], tables(analysis))
    header, row = (tmp_path / "rounds.csv").read_text().splitlines()
    assert header.startswith("arm,strategy,training,seed,round,images,lesions,seconds,volume_f1")
    assert row == "bald,bald,joint_uncertainty,1,0,2,3,118.0,0.8,0.7,0.9,12.0,0.75,3.0,0.6"
    assert len(list(tmp_path.glob("*.csv"))) == 6
