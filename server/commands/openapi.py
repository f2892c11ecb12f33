"""``caclabel openapi``: the description of the HTTP interface, for the snapshot in the tests."""

import argparse
import json
from pathlib import Path

from app.settings import Settings
from server.main import create_app

DESCRIPTION = "print the OpenAPI description of the server"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare no arguments."""
    del parser


def run(arguments: argparse.Namespace) -> int:
    """Print the description."""
    del arguments
    print(snapshot(), end="")
    return 0


def snapshot() -> str:
    """Return the description as text that changes only with the interface."""
    # The settings do not matter here: nothing is opened before the application starts.
    description = create_app(Settings(data=Path("data"))).openapi()
    return json.dumps(description, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
