"""``caclabel check``: looks through a data folder and says what is damaged; changes nothing."""

import argparse
import sys
from typing import Final

from app.integrity.check import check_folder
from app.integrity.findings import Report
from server.command_settings import add_data_arguments, settings_of
from server.demo.narration import Narrator

DESCRIPTION: Final = "check every row and file of a data folder against its hash"

_EXIT_DAMAGED: Final = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the folders."""
    add_data_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Check and print a line for each finding; 1 when something is damaged or lost."""
    report = check_folder(settings_of(arguments), Narrator(sys.stderr).progress)
    print_report(report)
    return 0 if report.is_sound else _EXIT_DAMAGED


def print_report(report: Report) -> None:
    """Print what was found, then what was checked."""
    for finding in report.findings:
        print(finding.line)
    checked = ", ".join(f"{number} {what}" for what, number in report.counts.items())
    verdict = "nothing is damaged" if report.is_sound else "see above"
    print(f"checked {checked or 'nothing'}: {verdict}")
