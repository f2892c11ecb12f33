"""The synthetic patients of the demonstration: images for the server, labels for the oracle."""

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from app.calcium.labels import LABELS
from app.calcium.phantom import phantom_patient
from app.imaging.dicom.writer import write_series
from app.imaging.labelmap import write_label_map
from app.imaging.volume_writer import write_volume


@dataclass(frozen=True)
class Patient:
    """A synthetic patient on disk.

    Attributes:
        patient_id: Name of the patient.
        image: File of the CT, or the folder of its DICOM series.
        label: File with what an expert would draw.
    """

    patient_id: str
    image: Path
    label: Path


@dataclass(frozen=True)
class Order:
    """A patient to be made.

    Attributes:
        seed: Seed of the group of patients.
        index: Number in the group.
        size: Voxels along (X, Y, Z).
        images: Folder for the image.
        labels: Folder for the label.
        is_dicom: Whether the image becomes a DICOM series instead of a NIfTI file.
    """

    seed: int
    index: int
    size: tuple[int, int, int]
    images: Path
    labels: Path
    is_dicom: bool = False


def make_patients(orders: Sequence[Order]) -> Iterator[Patient]:
    """Make patients, as many at a time as there are cores, and yield them in order."""
    workers = min(os.cpu_count() or 1, len(orders)) or 1
    # Spawned, not forked: the same on every system, and nothing of this process is copied.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _leave_interrupts_to_the_parent) as executor:
        yield from executor.map(make_patient, orders)


def _leave_interrupts_to_the_parent() -> None:
    # Ctrl-C reaches every process of a terminal; each would print where it was.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def make_patient(order: Order) -> Patient:
    """Make one patient; the same order gives the same files."""
    phantom = phantom_patient(order.seed, order.index, order.size)
    name = phantom.volume.identifiers.patient_id
    image = order.images / (name if order.is_dicom else f"{name}.nii.gz")
    label = order.labels / f"{name}.seg.nrrd"
    order.images.mkdir(parents=True, exist_ok=True)
    order.labels.mkdir(parents=True, exist_ok=True)
    if order.is_dicom:
        write_series(image, phantom.volume)
    else:
        write_volume(image, phantom.volume)
    grid = phantom.volume.grid
    write_label_map(label, phantom.labels, grid, compress=True, names=LABELS)
    return Patient(name, image, label)
