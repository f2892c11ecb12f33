"""What a click is answered with: a label map and the figures of what is in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.arrays import AxialImage
from app.calcium.labels import CALCIUM_LABELS
from app.clicks.arteries import NEAREST_MM, AssignedArtery, artery_of
from app.clicks.lesions import ClickedLesion, Clicks, kept_lesions, lesions_at
from app.clicks.tables import lesion_table, merged, peak_hu, scores_of
from app.settings import Settings
from app.store.tables import Json

_NO_REGION: Final = (
    "the network sees no artery within {near:g} mm of this lesion; choose the artery yourself "
    "and click with the model lesion_click"
)

_OTHER_ARTERY: Final = "the network sees {found} here, not {wanted}; choose the segment {found}"

_NO_CLICK: Final = "no foreground click came; click on calcium"

_FIRST_VALUE: Final = 1
"""Value of a label that is alone in its label map."""


@dataclass(frozen=True, eq=False)
class ClickAnswer:
    """The answer to the clicks on an image.

    Attributes:
        mask: Label map in axial orientation, shape (Z, Y, X).
        label_names: Name and value of each label in it, contiguous from 1.
        table: Figures of all lesions and of each, and what there is to say.
    """

    mask: NDArray[np.uint8]
    label_names: Mapping[str, int]
    table: Json


def fill_lesions(
    image: AxialImage,
    clicks: Clicks,
    settings: Settings,
    *,
    label: str,
    before: NDArray[np.bool_] | None = None,
) -> ClickAnswer:
    """Fill the lesions at the clicks with one label, whose artery the annotator has chosen.

    Args:
        image: The image.
        clicks: What was clicked.
        settings: Settings of the deployment.
        label: Name of the segment that is being filled.
        before: Calcium (Z, Y, X) to begin with; a background click on a lesion of it takes
            the lesion away. None: nothing.

    Raises:
        InvalidInputError: If the ROI lies outside the image.
    """
    lesions = lesions_at(image, clicks, rule=settings.rule)
    tables = [lesion_table(image, lesion, settings) for lesion in lesions]
    if before is None:
        return _one_label(image, [one.voxels for one in lesions], tables, settings, label)
    kept = kept_lesions(image, clicks, before, rule=settings.rule)
    whole = [*(lesion.voxels for lesion in lesions), kept]
    return _one_label(image, whole, tables, settings, label)


def assign_lesions(
    image: AxialImage,
    clicks: Clicks,
    settings: Settings,
    *,
    predicted: NDArray[np.uint8],
    only: str | None = None,
) -> ClickAnswer:
    """Fill the lesions at the clicks, each in the artery that the network sees there.

    Args:
        image: The image.
        clicks: What was clicked.
        settings: Settings of the deployment.
        predicted: The network's label map, axial, shape (Z, Y, X).
        only: The artery whose segment alone is being filled; lesions of others are left out
            and told. None: all arteries in one label map.

    Raises:
        InvalidInputError: If the ROI lies outside the image.
    """
    found = [
        _assigned(lesion, predicted, image, only)
        for lesion in lesions_at(image, clicks, rule=settings.rule)
    ]
    lesions = [lesion for lesion, _ in found]
    tables = [
        lesion_table(image, lesion, settings) | _artery_facts(artery) for lesion, artery in found
    ]
    if only is not None:
        return _one_label(image, [one.voxels for one in lesions], tables, settings, only)
    values = [CALCIUM_LABELS[artery.artery] if artery else _FIRST_VALUE for _, artery in found]
    voxels, of_voxels = merged([lesion.voxels for lesion in lesions], values)
    calcium: Json = scores_of(image, voxels, of_voxels, settings).to_json()
    if voxels.size:
        calcium["peak_hu"] = peak_hu(image, voxels)
    return ClickAnswer(
        _mask(image, voxels, of_voxels), dict(CALCIUM_LABELS), _table(image, calcium, tables)
    )


def _assigned(
    lesion: ClickedLesion, predicted: NDArray[np.uint8], image: AxialImage, only: str | None
) -> tuple[ClickedLesion, AssignedArtery | None]:
    if lesion.is_empty:
        return lesion, None
    artery = artery_of(lesion.voxels, predicted, spacing_mm=image.spacing_mm)
    if artery is None:
        note = _NO_REGION.format(near=NEAREST_MM)
    elif only is not None and artery.artery != only:
        note = _OTHER_ARTERY.format(found=artery.artery, wanted=only)
    else:
        return lesion, artery
    return replace(lesion, voxels=lesion.voxels[:, :0], note=note), artery


def _artery_facts(artery: AssignedArtery | None) -> Json:
    if artery is None:
        return {}
    return {
        "artery": artery.artery,
        "share": round(artery.share, 3),
        "distance_mm": round(artery.distance_mm, 1),
    }


def _one_label(
    image: AxialImage,
    parts: Sequence[NDArray[np.intp]],
    tables: Sequence[Json],
    settings: Settings,
    label: str,
) -> ClickAnswer:
    voxels, values = merged(parts, [_FIRST_VALUE] * len(parts))
    scores = scores_of(image, voxels, values, settings)
    calcium: Json = {**scores.total.to_json(), "rule": scores.rule}
    calcium["warnings"] = list(scores.warnings)
    if voxels.size:
        calcium["peak_hu"] = peak_hu(image, voxels)
    return ClickAnswer(
        _mask(image, voxels, values), {label: _FIRST_VALUE}, _table(image, calcium, tables)
    )


def _table(image: AxialImage, calcium: Json, tables: Sequence[Json]) -> Json:
    table: Json = {
        "threshold_hu": image.threshold_hu,
        "calcium": calcium,
        "lesions": list(tables),
    }
    notes = list(dict.fromkeys(str(one["message"]) for one in tables if "message" in one))
    if not tables and "peak_hu" not in calcium:
        notes = [_NO_CLICK]
    return table | ({"message": "; ".join(notes)} if notes else {})


def _mask(
    image: AxialImage, voxels: NDArray[np.intp], values: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    mask: NDArray[np.uint8] = np.zeros(image.hu.shape, np.uint8)
    mask[tuple(voxels)] = values
    return mask
