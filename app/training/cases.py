"""The labeled volumes of a training, as memory maps: any number of them fits into memory.

A label of a 512 x 512 x 57 volume takes 30 MB once it is decoded, so the arrays of a training
lie as files in its own folder, which is removed when it has ended.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from app.arrays import load_image, load_label
from app.background.work import StoppedError, WorkContext
from app.recipes import calcium
from app.store.tables import ImageRow, LabelRow
from models.training.dataset import TrainingCase

LabeledImage = tuple[LabelRow, ImageRow]
"""A label version and its image."""


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
    should_stop: Callable[[], bool],
) -> list[TrainingCase]:
    """Return the cases of a training; nothing but their slices' kinds is in memory.

    Args:
        context: What the worker has.
        label_ids: Label versions, by row id.
        folder: Where the decoded labels are kept.
        new: Those that the version before was not fitted to.
        should_stop: Asked before every case.

    Raises:
        StoppedError: If somebody asked the training to stop.
        ImagingError: If an image cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    is_new, cases = set(new), []
    for label, image in labeled_images(context, label_ids):
        if should_stop():
            raise StoppedError
        case = replace(_load_case(context, label, image, folder), is_new=label.id in is_new)
        # Looked at here, a case at a time, and not all at once by the trainer.
        _ = case.content, case.slice_kinds
        cases.append(case)
    return cases


def _load_case(context: WorkContext, label: LabelRow, row: ImageRow, folder: Path) -> TrainingCase:
    image = load_image(context.settings, context.files, row)
    case = calcium.training_case(
        row.id,
        image,
        load_label(context.files, image, label.sha256),
        covers_calcium=label.covers_calcium,
        covers_regions=label.covers_regions,
    )
    return replace(
        case,
        region=_mapped(folder / f"{label.id}-region.npy", case.region),
        lesion=_mapped(folder / f"{label.id}-lesion.npy", case.lesion),
    )


def _mapped(path: Path, array: NDArray[np.uint8] | None) -> NDArray[np.uint8] | None:
    """Return the array as a read-only memory map of a file."""
    if array is None:
        return None
    np.save(path, array)
    mapped: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return mapped
