"""``caclabel restore``: puts a backup into a new data folder and checks it."""

import argparse
import sys
from pathlib import Path
from typing import Final

from app.integrity.restore import restore
from server.command_settings import add_data_arguments, settings_of
from server.commands.backup import note_in_trail, told_error
from server.commands.check import print_report
from server.demo.narration import Narrator

DESCRIPTION: Final = "put a backup into a new data folder and check all of it"

_EXIT_DAMAGED: Final = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the folders."""
    parser.add_argument("folder", type=Path, help="folder of the backup")
    add_data_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Restore, check and print; 1 when something was damaged before the backup was taken."""
    settings, narrator = settings_of(arguments), Narrator(sys.stderr)
    try:
        report = restore(arguments.folder, settings, told=narrator.progress)
    except OSError as error:
        raise told_error(error) from error
    note_in_trail(settings, "restore backup", report)
    print_report(report)
    return 0 if report.is_sound else _EXIT_DAMAGED
