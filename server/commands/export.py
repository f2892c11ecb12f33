"""``caclabel export``: writes the labels of the pool into a folder."""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from app.errors import InvalidInputError
from app.exchange.data_folder import DataFolder, open_data_folder
from app.exchange.export_monailabel import MonailabelExporter
from app.exchange.export_nifti import NiftiExporter
from app.exchange.export_scores import ScoresExporter
from app.exchange.export_segmentations import SegmentationExporter
from app.exchange.exporting import Exported, Exporter, every_version, export_labels
from app.exchange.target import Target
from app.intake.identifiers import check_name
from app.intake.pool import FINAL_TAG, current_labels
from server.command_settings import add_data_arguments, settings_of
from server.demo.narration import Narrator

DESCRIPTION: Final = "write labels as MONAI Label folder, NIfTI, DICOM segmentations or CSV"

_FORMATS: Final = ("monailabel", "nifti", "dicom-seg", "csv")

_NAMES_PATIENTS: Final = ("monailabel", "csv")
"""Formats that can say whose image it is."""

_EXIT_SOME_REFUSED: Final = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare format, target and what to write."""
    parser.add_argument("folder", type=Path, help="folder to write; files are never overwritten")
    parser.add_argument("--format", required=True, choices=_FORMATS)
    parser.add_argument("--tag", default=FINAL_TAG, help="tag of the labels (default: %(default)s)")
    parser.add_argument("--add", action="store_true", help="add to a folder that is not empty")
    parser.add_argument(
        "--with-patient-ids",
        action="store_true",
        help="say the PatientID of each image (csv, monailabel)",
    )
    add_data_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Export and print what was written."""
    tag = check_name(arguments.tag, "tag")
    if arguments.with_patient_ids and arguments.format not in _NAMES_PATIENTS:
        raise InvalidInputError(f"--with-patient-ids is for {' and '.join(_NAMES_PATIENTS)} only")
    narrator = Narrator(sys.stderr)
    with open_data_folder(settings_of(arguments)) as data:
        target = Target(arguments.folder, data.settings, is_addition=arguments.add)
        exporter = make_exporter(
            arguments.format, data, target, with_patient_ids=arguments.with_patient_ids
        )
        with data.database.reading() as session:
            choose = every_version if arguments.format == "csv" else current_labels
            versions = choose(session, tag)
        done = []
        for exported in export_labels(exporter, versions):
            done.append(exported)
            narrator.progress(f"{len(done)} of {len(versions)} labels")
    print("\n".join(table_lines(done)))
    return _EXIT_SOME_REFUSED if any(exported.problem for exported in done) else 0


def make_exporter(
    name: str, data: DataFolder, target: Target, *, with_patient_ids: bool
) -> Exporter:
    """Make the exporter of a format."""
    if name == "monailabel":
        return MonailabelExporter(data, target, with_patient_ids=with_patient_ids)
    if name == "nifti":
        return NiftiExporter(data, target)
    if name == "dicom-seg":
        return SegmentationExporter(data, target)
    return ScoresExporter(data, target, with_patient_ids=with_patient_ids)


def table_lines(done: Iterable[Exported]) -> list[str]:
    """Return a line for each kind of outcome, and one for each problem."""
    counts: dict[str, int] = {}
    problems = []
    for exported in done:
        counts[exported.what] = counts.get(exported.what, 0) + 1
        if exported.problem:
            problems.append(f"{exported.name}: {exported.problem}")
    lines = [f"{count:6d}  {what}" for what, count in sorted(counts.items())]
    lines += ["", "could not be exported:", *problems] if problems else []
    return lines or ["no label with this tag"]
