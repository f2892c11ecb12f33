"""The pages for operators name tests, files, settings and commands that there are."""

import re
from pathlib import Path

import pytest

from app.settings import PREFIX, Settings
from server import commands

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("SECURITY.md", "docs/operations.md")


@pytest.mark.parametrize("page", PAGES)
class TestEveryPage:
    def test_names_tests_that_there_are(self, page: str) -> None:
        named = set(re.findall(r"`(tests/[\w./-]+)`", (ROOT / page).read_text()))
        assert [name for name in named if not (ROOT / name).exists()] == []

    def test_leads_to_places_that_there_are(self, page: str) -> None:
        for place in re.findall(r"\]\(([^)]+)\)", (ROOT / page).read_text()):
            name, _, heading = place.partition("#")
            if "://" not in place:
                target = (ROOT / page).parent / name if name else ROOT / page
                headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
                anchors = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}
                assert not heading or heading in anchors, place

    def test_names_settings_that_there_are(self, page: str) -> None:
        named = set(re.findall(rf"\b{PREFIX}([A-Z_]+)\b", (ROOT / page).read_text()))
        known = {name.upper() for name in Settings.model_fields}
        # Those of the examples beside the compose file.
        assert named - known <= {"CLIENT_SECRET", "ADDRESS"}

    def test_names_commands_that_there_are(self, page: str) -> None:
        text = (ROOT / page).read_text()
        # In a line of its own, after a path or Docker, or quoted.
        named = set(re.findall(r"(?:^|bin/|`|exec server )caclabel ([a-z]+)\b", text, re.MULTILINE))
        files = {path.stem.rstrip("_") for path in Path(commands.__path__[0]).glob("*.py")}
        assert named
        assert named <= files
