"""Score the calcium of one image with its label map."""

import argparse
import json
from pathlib import Path
from typing import Final

from app.calcium.labels import ARTERIES
from app.calcium.rules import DEFAULT_RULE, rule_names
from app.calcium.score import DEFAULT_MASS_FACTOR, ArteryScore, CalciumScores, calcium_scores
from app.imaging.geometry import match_label_to_grid
from app.imaging.labelmap import LabelMap, read_label_map
from app.imaging.orientation import to_axial
from app.imaging.reader import read_volume
from app.intake.label_names import numbering, renumber

DESCRIPTION: Final = "score the calcium of an image with its label map"

_COLUMNS: Final = ("artery", "Agatston", "volume mm3", "mass mg", "lesions")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare image, label map and how to score them."""
    parser.add_argument(
        "image", type=Path, help="CT volume: a file, or a folder with one DICOM series"
    )
    parser.add_argument(
        "label",
        type=Path,
        help="label map on the grid of the image, segments named or with canonical values",
    )
    parser.add_argument(
        "--rule",
        default=DEFAULT_RULE,
        metavar="NAME",
        help=f"scoring rule: {', '.join(rule_names())} (default: %(default)s)",
    )
    parser.add_argument(
        "--mass-factor",
        type=float,
        default=DEFAULT_MASS_FACTOR,
        metavar="F",
        help="milligrams of hydroxyapatite per mm3 and HU (default: %(default)s)",
    )
    parser.add_argument(
        "--kvp", type=float, help="tube voltage in kV, where the image does not say it"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(arguments: argparse.Namespace) -> int:
    """Print the scores as a table or as JSON."""
    scores = score_files(
        arguments.image,
        arguments.label,
        rule=arguments.rule,
        mass_factor=arguments.mass_factor,
        kvp=arguments.kvp,
    )
    print(json.dumps(scores.to_json(), indent=2) if arguments.json else format_table(scores))
    return 0


def score_files(
    image: Path, label: Path, *, rule: str, mass_factor: float, kvp: float | None
) -> CalciumScores:
    """Read an image and its label map and score them.

    Args:
        image: File or folder of the CT volume.
        label: File of the label map.
        rule: Name of the scoring rule.
        mass_factor: Milligrams per mm³ and HU.
        kvp: Tube voltage for an image that does not say its own.

    Raises:
        ImagingError: If the image cannot be trusted.
        LabelError: If the label map does not fit the image or its values have no meaning.
        InvalidInputError: If there is no such rule.
    """
    volume = read_volume(image)
    stored = read_label_map(label)
    canonical = LabelMap(renumber(stored, numbering(stored, ())), stored.grid)
    labels = match_label_to_grid(canonical, volume.grid).array
    axial_hu, axial_grid = to_axial(volume.hu, volume.grid)
    axial_labels, _ = to_axial(labels, volume.grid)
    return calcium_scores(
        axial_hu,
        axial_labels,
        spacing_mm=axial_grid.spacing_mm,
        kvp=kvp if volume.kvp is None else volume.kvp,
        rule=rule,
        mass_factor=mass_factor,
    )


def format_table(scores: CalciumScores) -> str:
    """Return the scores as aligned lines."""
    rows = [_COLUMNS]
    rows += [_row(name, scores.arteries[name]) for name in ARTERIES]
    rows += [_row("total", scores.total)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    ]
    facts = {
        "risk category": scores.risk_category,
        "CAC-DRS": scores.cac_drs,
        "rule": scores.rule,
        "threshold": f"{scores.threshold_hu} HU",
    }
    lines += ["", *(f"{name:<13}  {value}" for name, value in facts.items())]
    return "\n".join([*lines, *(f"warning: {warning}" for warning in scores.warnings)])


def _row(name: str, score: ArteryScore) -> tuple[str, str, str, str, str]:
    """Return one line of the table."""
    return (
        name,
        f"{score.agatston:.1f}",
        f"{score.volume_mm3:.1f}",
        f"{score.mass_mg:.2f}",
        str(score.lesions),
    )
