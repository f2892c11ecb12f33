"""Ctrl-C in the middle of a demonstration."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests

_LONGEST_END_S = 60.0


@pytest.mark.slow
def test_an_interrupted_demonstration_leaves_no_server(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "server.cli", "demo", str(tmp_path / "out")]
    command += ["--pool", "6", "--test", "2", "--rounds", "1", "--size", "48x48x8"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        address = next(
            found for line in process.stderr if (found := re.search("http://\\S+", line))
        )
        assert requests.get(f"{address[0]}/health", timeout=10).status_code == 200
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
        assert process.wait(_LONGEST_END_S) == 130
    assert "stopped; nothing is left running" in said
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{address[0]}/health", timeout=10)
