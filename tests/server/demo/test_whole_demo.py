"""A tiny demonstration, played to its end against a real server and worker."""

import json
import re
from io import StringIO
from pathlib import Path

import pytest
from sqlalchemy import select

from app.store.database import Database
from app.store.tables import LabelRow
from server.demo.narration import Narrator
from server.demo.plan import DemoPlan
from server.demo.report import REPORT_NAME, RESULTS_NAME
from server.demo.run import run_demo

pytestmark = pytest.mark.slow

TINY = DemoPlan(size=(64, 64, 12), pool=6, test=2, rounds=2, epochs=1, samples=2, dicom_every=3)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "out"
    with pytest.MonkeyPatch.context() as patch:
        # Real scans would take minutes.
        patch.setenv("CACLABEL_TEST_DATA", str(out / "none"))
        run_demo(TINY, out, Narrator(StringIO()))
    return out


def test_report_has_a_row_for_each_round(out: Path) -> None:
    html = (out / REPORT_NAME).read_text()
    assert re.findall(r"<tr><td>(\d)</td><td>(\w+)</td><td>(\d)</td>", html) == [
        ("1", "random", "3"),
        ("2", "uncertainty", "4"),
    ]


def test_report_loads_nothing_from_anywhere(out: Path) -> None:
    html = (out / REPORT_NAME).read_text()
    assert not re.findall(r'(?:src|href)="(?!data:)', html)


def test_every_label_that_was_sent_is_in_the_store(out: Path) -> None:
    rounds = json.loads((out / RESULTS_NAME).read_text())["rounds"]
    sent = [image for one in rounds for image in one["images"]]
    assert len(sent) == len(set(sent)) == 4
    assert stored_labels(out / "data") == set(sent)


def test_server_and_worker_have_ended(out: Path) -> None:
    assert "Finished server process" in (out / "server.log").read_text()


def stored_labels(data: Path) -> set[str]:
    """Read the images with a final label from the store itself, past the server."""
    database = Database(f"sqlite:///{data / 'caclabel.sqlite'}")
    with database.reading() as session:
        found = set(session.scalars(select(LabelRow.image_id).where(LabelRow.tag == "final")))
    database.close()
    return found
