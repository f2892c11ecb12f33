"""``caclabel backup``: copies a data folder while its server may go on."""

import argparse
import sys
import time
from pathlib import Path
from typing import Final

from sqlalchemy.exc import DBAPIError

from app import audit
from app.errors import CacLabelError, StorageError
from app.integrity.backup import back_up
from app.integrity.findings import Report
from app.settings import Settings
from app.store.database import Database
from app.store.faults import storage_error
from app.store.tables import Json
from server.command_settings import add_data_arguments, settings_of
from server.commands.check import print_report
from server.commands.user import acting_person
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
    note_in_trail(settings, "make backup", report)
    print_report(report)
    return 0 if report.is_sound else _EXIT_DAMAGED


def note_in_trail(settings: Settings, action: str, report: Report) -> None:
    """Write down that a copy was made or put back; a disk that takes no writing keeps no note."""
    database = Database(settings.database)
    change: Json = {"after": {**report.counts, "is_sound": report.is_sound}}
    try:
        with database.writing() as session:
            audit.record(session, acting_person(), action, "data folder", change, now=time.time())
    except (DBAPIError, StorageError):
        print("the trail of changes has no note of this: it cannot be written", file=sys.stderr)
    finally:
        database.close()


def told_error(error: OSError) -> CacLabelError:
    """Return what a disk said as an error that the command line tells in one line."""
    return storage_error(error) or CacLabelError(f"a file cannot be copied: {error.strerror}")
