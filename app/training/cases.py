"""The labeled volumes of a training, as memory maps: any number of them fits into memory.

A label of a 512 x 512 x 57 volume takes 30 MB once it is decoded, so the arrays of a training
lie as files in its own folder, which is removed when it has ended.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from app.arrays import load_image, load_label
from app.background.work import StoppedError, WorkContext
from app.errors import (
    CacLabelError,
    DamagedFileError,
    ImagingError,
    LabelError,
    NotFoundError,
    PacsRefusedError,
    TooLittleMemoryError,
)
from app.intake.identifiers import for_log
from app.integrity.damage import note_damage, note_unreadable
from app.memory import memory_needed
from app.recipes import calcium
from app.store.tables import ImageRow, LabelRow
from app.training.plan import LeftOut
from models.training.dataset import TrainingCase

logger = logging.getLogger(__name__)

_OF_ONE_IMAGE: Final = (
    DamagedFileError,
    ImagingError,
    LabelError,
    NotFoundError,
    PacsRefusedError,
    TooLittleMemoryError,
)
"""Errors of one label or image, which the others can be trained without.

A DICOMweb server that is down is none: it may keep away nearly all of them, for a while.
"""

LabeledImage = tuple[LabelRow, ImageRow]
"""A label version and its image."""


@dataclass(frozen=True, eq=False)
class LoadedCases:
    """What could be read of some labels.

    Attributes:
        cases: Those that could, in the order of their ids.
        left_out: The others.
    """

    cases: list[TrainingCase]
    left_out: list[LeftOut]


def labeled_images(context: WorkContext, label_ids: Sequence[int]) -> list[LabeledImage]:
    """Return label versions with their images, in the order of the ids."""
    wanted = select(LabelRow, ImageRow).join(ImageRow, ImageRow.id == LabelRow.image_id)
    with context.database.reading() as session:
        rows = {
            label.id: (label, image)
            for label, image in session.execute(wanted.where(LabelRow.id.in_(label_ids)))
        }
    return [rows[label_id] for label_id in label_ids]


def load_cases(
    context: WorkContext,
    label_ids: Sequence[int],
    folder: Path,
    *,
    new: Sequence[int],
    judges: bool,
    should_stop: Callable[[], bool],
) -> LoadedCases:
    """Load the cases of a training; nothing but their slices' kinds is in memory.

    What cannot be read is left out, and its damage is told to those who look after the server.

    Args:
        context: What the worker has.
        label_ids: Label versions, by row id.
        folder: Where the decoded labels are kept.
        new: Those that the version before was not fitted to.
        judges: Whether versions are judged by those that cover calcium.
        should_stop: Asked before every case.

    Raises:
        StoppedError: If somebody asked the training to stop.
        PacsDownError: If images have to be retrieved and the DICOMweb server is down.
    """
    folder.mkdir(parents=True, exist_ok=True)
    is_new, loaded = set(new), LoadedCases([], [])
    for label, image in labeled_images(context, label_ids):
        if should_stop():
            raise StoppedError
        try:
            with memory_needed("reading it"):
                case = _load_case(context, label, image, folder, is_new=label.id in is_new)
        except _OF_ONE_IMAGE as error:
            note_unread(context, image, error)
            is_judge = judges and label.covers_calcium
            loaded.left_out.append(LeftOut(label.id, image.id, str(error), is_judge))
        else:
            loaded.cases.append(case)
    return loaded


def note_unread(context: WorkContext, image: ImageRow, error: CacLabelError) -> None:
    """Tell those who look after the server that an image or its label cannot be read."""
    logger.warning(for_log(image.id, f"image {image.id} was left out: {error}"))
    if isinstance(error, DamagedFileError):
        note_damage(context.database, error, now=context.clock())
    elif isinstance(error, (ImagingError, NotFoundError)):
        note_unreadable(context.database, image, str(error), now=context.clock())


def _load_case(
    context: WorkContext, label: LabelRow, row: ImageRow, folder: Path, *, is_new: bool
) -> TrainingCase:
    image = load_image(context.settings, context.files, row)
    case = calcium.training_case(
        row.id,
        image,
        load_label(context.files, image, label.sha256),
        covers_calcium=label.covers_calcium,
        covers_regions=label.covers_regions,
    )
    mapped = replace(
        case,
        region=_mapped(folder / f"{label.id}-region.npy", case.region),
        lesion=_mapped(folder / f"{label.id}-lesion.npy", case.lesion),
        is_new=is_new,
    )
    # Looked at here, a case at a time, and not all at once by the trainer.
    _ = mapped.content, mapped.slice_kinds
    return mapped


def _mapped(path: Path, array: NDArray[np.uint8] | None) -> NDArray[np.uint8] | None:
    """Return the array as a read-only memory map of a file."""
    if array is None:
        return None
    np.save(path, array)
    mapped: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return mapped
