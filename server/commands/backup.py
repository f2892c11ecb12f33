"""``caclabel backup``: copies a data folder while its server may go on."""

import argparse
import sys
import time
from pathlib import Path
from typing import Final

from app.errors import CacLabelError
from app.integrity.backup import back_up
from app.store.faults import storage_error
from server.command_settings import add_data_arguments, settings_of
from server.commands.check import print_report
from server.demo.narration import Narrator

DESCRIPTION: Final = "copy database, labels, uploads and weights; the server may go on"

_EXIT_DAMAGED: Final = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the folders."""
    parser.add_argument("folder", type=Path, help="new folder for the backup")
    add_data_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Copy, and print what could not be; 1 when something was damaged already."""
    settings, narrator = settings_of(arguments), Narrator(sys.stderr)
    try:
        report = back_up(settings, arguments.folder, now=time.time(), told=narrator.progress)
    except OSError as error:
        raise told_error(error) from error
    print_report(report)
    return 0 if report.is_sound else _EXIT_DAMAGED


def told_error(error: OSError) -> CacLabelError:
    """Return what a disk said as an error that the command line tells in one line."""
    return storage_error(error) or CacLabelError(f"a file cannot be copied: {error.strerror}")
