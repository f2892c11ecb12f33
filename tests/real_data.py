"""Where tests find real CT volumes, which are never part of the project."""

import os
from pathlib import Path

import pytest

_DEFAULT_FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data"


def real_data(name: str) -> Path:
    """Return the folder or file ``name`` of the real data, or skip the test where it is absent."""
    path = Path(os.environ.get("CACLABEL_TEST_DATA", _DEFAULT_FOLDER)) / name
    if not path.exists():
        pytest.skip(f"real data {name!r} is absent; set CACLABEL_TEST_DATA to its folder")
    return path
