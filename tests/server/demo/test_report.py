"""The report of measurements that are made up here, without a server."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from app.imaging.volume import Volume
from app.imaging.volume_writer import write_volume
from server.demo.comparison import Comparison, Figures, compare, load_scan, summarise
from server.demo.patients import Patient
from server.demo.plan import DemoPlan
from server.demo.real_scans import RealScan
from server.demo.records import DemoRecord, Judgement, LabelRecord, RealRecord, RoundRecord
from server.demo.report import RESULTS_NAME, write_report
from server.demo.run import table_lines
from tests.server.demo.scans import grid, prediction, scan


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="module")
def record(folder: Path) -> DemoRecord:
    """Two rounds on two patients; the first finds nothing, the second everything."""
    truth = scan()
    image = folder / "patient <1>.nii.gz"
    write_volume(image, Volume(truth.hu, grid(), 120.0))
    found = prediction(folder, truth.labels, 16.0)
    patient = Patient("patient <1>", image, found.mask)
    good = compare(load_scan(image, found.mask), found)
    poor = replace(good, shared_mm3=0.0, missed_mm3=24.0, found_agatston=0.0, changed_voxels=8)
    record = DemoRecord(DemoPlan(pool=10, test=2, rounds=2), (patient, patient), "0.1.0")
    first = LabelRecord("image-1", patient, 1.0, None)
    record.rounds.append(_round(1, first, Judgement(_sum(poor), (poor, poor), (found, found), 3.0)))
    second = LabelRecord("image-2", patient, 1.0, poor)
    record.rounds.append(
        _round(2, second, Judgement(_sum(good), (good, good), (found, found), 3.0))
    )
    record.real.append(RealRecord(RealScan("real", "a real scan", image), image, found))
    return record


@pytest.fixture(scope="module")
def html(record: DemoRecord, folder: Path) -> str:
    return write_report(record, folder).read_text()


def _sum(one: Comparison) -> Figures:
    return summarise([one, one])


def _round(number: int, label: LabelRecord, judgement: Judgement) -> RoundRecord:
    return RoundRecord(number, "random", (label,), 4 * number, 0, 1.0, 60.0, judgement)


def test_report_is_one_file_that_loads_nothing_else(html: str) -> None:
    sources = re.findall(r'(?:src|href)="([^"]{0,40})', html)
    # Two charts, two patients, one over the rounds, one real scan.
    assert len(sources) == 6
    assert all(source.startswith("data:image/") for source in sources)
    assert "url(" not in html
    assert "<script" not in html


def test_report_has_one_row_a_round(html: str) -> None:
    table = html[html.index('<table class="rounds">') : html.index("</table>")]
    rows = re.findall(r"<tr><td>(\d)</td><td>random</td><td>(\d)</td>", table)
    assert rows == [("1", "4"), ("2", "8")]


def test_report_says_that_it_is_for_research_only(html: str) -> None:
    assert "Research use only" in html


def test_names_are_escaped(html: str) -> None:
    assert "patient &lt;1&gt;" in html
    assert "patient <1>" not in html


@pytest.mark.usefixtures("html")
def test_bare_figures_lie_beside_the_report(folder: Path) -> None:
    rounds = json.loads((folder / RESULTS_NAME).read_text())["rounds"]
    assert [one["volume_f1"] for one in rounds] == [0.0, 1.0]
    assert [one["changed_voxels"] for one in rounds] == [None, 8.0]


def test_terminal_gets_one_line_a_round(record: DemoRecord) -> None:
    lines = table_lines(record)
    # Two patients with nothing found, then everything found; 16 is the true score.
    assert lines[1].split() == ["1", "4", "60", "0.000", "0.000", "16.0"]
    assert lines[2].split() == ["2", "8", "60", "1.000", "1.000", "0.0"]
