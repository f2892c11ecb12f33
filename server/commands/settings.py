"""``caclabel settings``: the settings table of the README, made from the class."""

import argparse
import json
from pathlib import Path

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from app.settings import PREFIX, Settings

DESCRIPTION = "print every setting with its default, as a Markdown table"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare no arguments."""
    del parser


def run(arguments: argparse.Namespace) -> int:
    """Print the table."""
    del arguments
    print(table())
    return 0


def table() -> str:
    """Return one line for each setting: variable, default, meaning."""
    lines = [
        f"| `{PREFIX}{name.upper()}` | {_default(field)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(["| variable | default | meaning |", "|---|---|---|", *lines])


def _default(field: FieldInfo) -> str:
    value = field.default
    if not value:
        return "" if value in (None, "", ()) or isinstance(value, SecretStr) else f"`{value}`"
    if isinstance(value, dict):
        return f"`{json.dumps(value)}`"
    return f"`{value.as_posix() if isinstance(value, Path) else value}`"
