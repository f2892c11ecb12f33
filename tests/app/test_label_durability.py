import subprocess
import sys

import numpy as np
import pytest
from sqlalchemy import select, text

from app import labels
from app.imaging.labelmap import read_label_map
from app.store.tables import LabelRow
from tests.app.conftest import Deployment
from tests.app.pool import add_image
from tests.factories import make_labels


@pytest.mark.slow
def test_no_acknowledged_label_is_lost_by_kills_amid_submissions(deployment: Deployment) -> None:
    with deployment.database.writing() as session:
        add_image(session, "a")
    acknowledged: list[int] = []
    for count in (1, 12):
        acknowledged += _submit_until_killed(deployment, first=1000 * count, count=count)
    with deployment.database.reading() as session:
        assert session.scalar(text("PRAGMA integrity_check")) == "ok"
        rows = {int(row.annotator): row for row in session.scalars(select(LabelRow))}
    assert set(acknowledged) <= set(rows)
    for seed, row in rows.items():
        stored = read_label_map(labels.label_file(deployment.files, row))
        np.testing.assert_array_equal(stored.array, make_labels(seed=seed))
    assert sorted(row.version for row in rows.values()) == list(range(1, len(rows) + 1))


def _submit_until_killed(deployment: Deployment, *, first: int, count: int) -> list[int]:
    """Kill a submitting process once it has said ``count`` times that a label is kept."""
    command = [sys.executable, "-m", "tests.app.endless_submissions"]
    process = subprocess.Popen(
        [*command, str(deployment.settings.data), str(first)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    said = [int(process.stdout.readline()) for _ in range(count)]
    process.kill()
    # What was said between the last line read and the kill was acknowledged, too.
    said += [int(line) for line in process.stdout if line.endswith("\n")]
    process.stdout.close()
    process.wait()
    return said
