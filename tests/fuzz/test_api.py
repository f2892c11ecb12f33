"""Every route of a real server under requests made from its own description, valid and not.

A 5xx, or an answer that does not come, is a finding.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.budget import SECONDS, rounds
from tests.fuzz.server_process import FuzzedServer, fuzzed_server

_SHARE = 0.5

_SHORT = ["--phases", "fuzzing", "--max-examples", "1"]
"""A request to each route; how many do not depend on the machine."""

_LONG = ["--phases", "coverage,fuzzing", "--max-examples", "20", "--max-time", "120"]
"""One of many runs, each with another seed."""

_LONGEST_ANSWER_S = 30

_CONFIG = Path(__file__).with_name("schemathesis.toml")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FuzzedServer]:
    with fuzzed_server(tmp_path / "data") as running:
        running.fill()
        yield running


def _tested(told: str) -> int:
    """Return how many operations were tested."""
    found = re.search(r"Tested: +(\d+)", told)
    return int(found[1]) if found else 0


@pytest.mark.timeout(900)
def test_no_request_makes_the_server_fail_or_hang(server: FuzzedServer, tmp_path: Path) -> None:
    for number in rounds(_SHARE):
        run = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(_CONFIG), "run"]
        run += [f"{server.url}/openapi.json", "--checks", "not_a_server_error"]
        run += ["--request-timeout", str(_LONGEST_ANSWER_S), "--seed", str(number)]
        run += _LONG if SECONDS else _SHORT
        run += ["--generation-database", "none", "--no-color", "--warnings", "off"]
        done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
        assert _tested(done.stdout) > 0, done.stdout
        assert SECONDS or "Skipped" not in done.stdout, done.stdout
        assert server.answers()
    assert "the server failed" not in server.log()
    assert "Traceback" not in server.log()
