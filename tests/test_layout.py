"""The rooms can be imported from anywhere, and the web process stays light."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("room", ["app", "models", "server", "strategies"])
def test_room_is_imported_from_any_folder(room: str, tmp_path: Path) -> None:
    code = f"import {room}; print({room}.__file__)"
    found = run_python(code, tmp_path)
    assert Path(found).parent == Path(__file__).resolve().parents[1] / room


def test_web_process_never_imports_torch(tmp_path: Path) -> None:
    code = (
        "import sys, server.main; print(sorted(m for m in ('torch', 'monai', 'dbos', 'highdicom') "
        "if m in sys.modules))"
    )
    assert run_python(code, tmp_path) == "[]"


def run_python(code: str, folder: Path) -> str:
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()
