"""``caclabel import``: takes a data set into the pool, images and labels."""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from app.errors import InvalidInputError
from app.exchange import coca, monailabel, orcascore
from app.exchange.data_folder import DataFolder, open_data_folder
from app.exchange.importing import Case, Outcome, import_cases, scan_if_inside
from server.command_settings import add_data_arguments, settings_of
from server.demo.narration import Narrator

DESCRIPTION: Final = (
    "take images and labels of COCA, orCaScore or a MONAI Label folder into the pool"
)

_EXIT_SOME_REFUSED: Final = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the data set and the data folder."""
    parser.add_argument(
        "kind", choices=("coca", "orcascore", "monailabel"), help="kind of data set"
    )
    parser.add_argument("folder", type=Path, help="folder of the data set, never written to")
    parser.add_argument(
        "--kvp",
        type=float,
        help="tube voltage in kV of the scans of orCaScore, which cannot say it",
    )
    add_data_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Import and print what became of each case."""
    folder: Path = arguments.folder
    if not folder.is_dir():
        raise InvalidInputError(f"there is no folder {folder}")
    if arguments.kvp is not None and arguments.kind != "orcascore":
        raise InvalidInputError("--kvp is for orcascore only")
    narrator = Narrator(sys.stderr)
    with open_data_folder(settings_of(arguments), make=True) as data:
        cases = find_cases(arguments.kind, folder, kvp=arguments.kvp)
        _scan(data, folder, narrator)
        outcomes = []
        for outcome in import_cases(data, cases):
            outcomes.append(outcome)
            narrator.progress(f"{len(outcomes)} of {len(cases)} cases")
    print("\n".join(table_lines(outcomes)))
    return _EXIT_SOME_REFUSED if any(outcome.problems for outcome in outcomes) else 0


def find_cases(kind: str, folder: Path, *, kvp: float | None = None) -> list[Case]:
    """List the cases of a data set."""
    if kind == "orcascore":
        return orcascore.find_cases(folder, kvp=kvp)
    return {"coca": coca.find_cases, "monailabel": monailabel.find_cases}[kind](folder)


def _scan(data: DataFolder, folder: Path, narrator: Narrator) -> None:
    def on_progress(fraction: float) -> None:
        narrator.progress(f"scanning the studies folder, {fraction:.0%}")

    report = scan_if_inside(data, folder, on_progress)
    if report is not None:
        print(
            f"the folder lies in the studies folder, whose scan registered {report.registered} "
            f"images and {report.labels} labels"
        )


def table_lines(outcomes: Iterable[Outcome]) -> list[str]:
    """Return a line for each kind of outcome, and one for each problem."""
    counts: dict[str, int] = {}
    problems = []
    for outcome in outcomes:
        counts[outcome.what] = counts.get(outcome.what, 0) + 1
        problems += [f"{outcome.name}: {problem}" for problem in outcome.problems]
    lines = [f"{count:6d}  {what}" for what, count in sorted(counts.items())]
    return [*lines, *(["", "could not be used:", *problems] if problems else [])]
