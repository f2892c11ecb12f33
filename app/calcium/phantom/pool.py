"""A folder of phantoms: images, the labels of an oracle, and a table.

Images and labels lie in two folders side by side, so that the image folder can be served
as studies without giving the answers away::

    OUT/images/phantom-7-0000.nii.gz   or a folder of DICOM slices of that name
    OUT/oracle/phantom-7-0000.nrrd
    OUT/phantoms.csv
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from app.calcium.labels import ARTERIES, LABELS
from app.calcium.phantom.config import Phantom
from app.calcium.phantom.series import phantom_patient
from app.calcium.score import CalciumScores, calcium_scores
from app.errors import ConflictError, InvalidInputError
from app.imaging.dicom.writer import write_series
from app.imaging.labelmap import write_label_map
from app.imaging.volume_writer import write_volume

IMAGES, ORACLE, TABLE = "images", "oracle", "phantoms.csv"
"""Names inside the folder of a pool."""

_LEAST_SIZE = (64, 64, 12)
"""Smallest size along (X, Y, Z) in which arteries can be told apart."""

_LARGEST_SIZE = (1024, 1024, 200)

_FACTS = (
    "kvp",
    "noise_sd_hu",
    "motion_mm",
    "increment_mm",
    "thickness_mm",
    "pixel_mm",
    "score_class",
    "left_dominant",
)


def write_pool(
    folder: Path, *, count: int, seed: int, size: tuple[int, int, int], dicom: bool = False
) -> Iterator[str]:
    """Write phantoms one by one, and the table after each.

    Args:
        folder: Made if absent; it must not hold a pool yet.
        count: Number of phantoms.
        seed: The same seed, count and size give the same files.
        size: Voxels along (X, Y, Z).
        dicom: Write DICOM series instead of NIfTI files.

    Yields:
        The name of each phantom once its image, label and row are written.

    Raises:
        InvalidInputError: If the count or the size is out of range.
        ConflictError: If the folder holds a pool already.
    """
    _check(folder, count, size)
    (folder / IMAGES).mkdir(parents=True, exist_ok=True)
    (folder / ORACLE).mkdir(exist_ok=True)
    with (folder / TABLE).open("x", newline="", encoding="utf-8") as stream:
        writer: csv.DictWriter[str] | None = None
        for index in range(count):
            phantom = phantom_patient(seed, index, size)
            # Scanners number slices from either end; readers must not rely on it.
            _write_files(folder, phantom, dicom=dicom, descending=index % 2 == 1)
            row = _row(phantom)
            if writer is None:
                writer = csv.DictWriter(stream, list(row))
                writer.writeheader()
            writer.writerow(row)
            stream.flush()
            yield phantom.volume.identifiers.patient_id


def _check(folder: Path, count: int, size: tuple[int, int, int]) -> None:
    """Refuse what no pool can be made of."""
    if count < 1:
        raise InvalidInputError(f"expected at least one phantom, got {count}")
    in_range = (
        low <= side <= high
        for low, side, high in zip(_LEAST_SIZE, size, _LARGEST_SIZE, strict=True)
    )
    if not all(in_range):
        low, high = ("x".join(map(str, limit)) for limit in (_LEAST_SIZE, _LARGEST_SIZE))
        got = "x".join(map(str, size))
        raise InvalidInputError(f"expected a size from {low} to {high} voxels, got {got}")
    if (folder / TABLE).exists():
        raise ConflictError(f"{folder.name} holds phantoms already; choose another folder")


def _write_files(folder: Path, phantom: Phantom, *, dicom: bool, descending: bool) -> None:
    """Write image and oracle label of one phantom."""
    name = phantom.volume.identifiers.patient_id
    if dicom:
        write_series(folder / IMAGES / name, phantom.volume, descending=descending)
    else:
        write_volume(folder / IMAGES / f"{name}.nii.gz", phantom.volume)
    write_label_map(
        folder / ORACLE / f"{name}.nrrd",
        phantom.labels,
        phantom.volume.grid,
        compress=True,
        names=LABELS,
    )


def score_phantom(phantom: Phantom) -> CalciumScores:
    """Score the label of a phantom."""
    return calcium_scores(
        phantom.volume.hu,
        phantom.labels,
        spacing_mm=phantom.volume.spacing_mm,
        kvp=phantom.volume.kvp,
    )


def _row(phantom: Phantom) -> dict[str, str]:
    """Return the row of a phantom in the table."""
    scores, facts = score_phantom(phantom), phantom.facts
    row = {
        "id": phantom.volume.identifiers.patient_id,
        "agatston": f"{scores.total.agatston:.2f}",
        "risk_category": scores.risk_category,
    }
    for artery in ARTERIES:
        row[f"agatston_{artery}"] = f"{scores.arteries[artery].agatston:.2f}"
    for artery in ARTERIES:
        row[f"true_mass_mg_{artery}"] = f"{phantom.truth[artery].mass_mg:.3f}"
    for name in _FACTS:
        value = getattr(facts, name)
        row[name] = f"{value:.3f}" if isinstance(value, float) else str(value)
    row["metal"] = " ".join(facts.metal)
    return row
