"""``caclabel settings``: the table of the README."""

import pytest

from app.settings import Settings
from server.cli import main


def test_every_setting_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings"]) == 0
    lines = capsys.readouterr().out.splitlines()
    # Two lines of heading.
    assert len(lines) == len(Settings.model_fields) + 2
    assert "| `CACLABEL_PORT` | `8000` | Port the server listens on |" in lines
    assert "| `CACLABEL_DATABASE_URL` |  |" in "\n".join(lines)
