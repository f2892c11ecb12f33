"""The ``caclabel`` command: finds the subcommand and hands over to its module.

Only the chosen command is imported, so that ``--help`` and ``--version`` answer at once. A
command is a module of `server.commands` with ``DESCRIPTION``, ``add_arguments(parser)`` and
``run(arguments) -> int``; one that Python has a keyword for ends in an underscore.
"""

import argparse
import ast
import importlib
import keyword
import pkgutil
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final, Protocol, cast

from app.errors import CacLabelError
from server import commands

EXIT_REFUSED: Final = 2
"""Exit code when the input cannot be used, the code argparse has for wrong arguments."""


class Command(Protocol):
    """What a module of `server.commands` offers."""

    DESCRIPTION: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments of the command."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Do what was asked and return the exit code."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: Arguments without the program name; those of the process when None.

    Returns:
        The exit code of the command, or 2 with one line on standard error when it refused.

    Raises:
        SystemExit: For ``--help``, ``--version`` and wrong arguments.
    """
    given = sys.argv[1:] if argv is None else list(argv)
    chosen = next((word for word in given if not word.startswith("-")), None)
    command = _load(chosen) if chosen and chosen in _command_names() else None
    arguments = _parser(chosen, command).parse_args(given)
    if command is None:
        raise AssertionError("the parser accepted a command that does not exist")
    try:
        return command.run(arguments)
    except CacLabelError as error:
        sys.stderr.write(f"caclabel: {error}\n")
        return EXIT_REFUSED


def _parser(chosen: str | None, command: Command | None) -> argparse.ArgumentParser:
    """Build the parser; only the chosen command has its arguments."""
    parser = argparse.ArgumentParser(
        prog="caclabel", description="Active-learning annotation server for coronary calcium CT."
    )
    parser.add_argument("--version", action="version", version=f"caclabel {version('caclabel')}")
    choices = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in _command_names():
        description = _description(name)
        subparser = choices.add_parser(name, help=description, description=description)
        if command is not None and name == chosen:
            command.add_arguments(subparser)
    return parser


def _command_names() -> tuple[str, ...]:
    """List the modules of `server.commands` without importing them."""
    modules = pkgutil.iter_modules(commands.__path__)
    return tuple(sorted(module.name.removesuffix("_") for module in modules))


def _load(name: str) -> Command:
    """Import the module of a command."""
    module = importlib.import_module(f"{commands.__name__}.{_module_name(name)}")
    return cast("Command", module)


def _module_name(name: str) -> str:
    return f"{name}_" if keyword.iskeyword(name) else name


def _description(name: str) -> str:
    """Read the description of a command from its source, which costs no import."""
    source = Path(commands.__path__[0], f"{_module_name(name)}.py")
    for statement in ast.parse(source.read_text(encoding="utf-8")).body:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        targets += [statement.target] if isinstance(statement, ast.AnnAssign) else []
        names = {target.id for target in targets if isinstance(target, ast.Name)}
        value = getattr(statement, "value", None)
        if "DESCRIPTION" in names and isinstance(value, ast.Constant):
            return str(value.value)
    return ""


if __name__ == "__main__":
    sys.exit(main())
