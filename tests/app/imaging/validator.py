"""A DICOM validator of another maker."""

import shutil
import subprocess
from pathlib import Path

import pytest


def problems(content: bytes, folder: Path) -> list[str]:
    """Return what dciodvfy calls an error; skip the test where it is not installed."""
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("dciodvfy is not installed (Debian package dicom3tools)")
    (folder / "checked.dcm").write_bytes(content)
    command = [program, "-new", "checked.dcm"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]
