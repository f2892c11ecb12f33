"""The calcium table of a submitted label, and how it differs from the model's.

Scoring opens the image, so it is done before the transaction that keeps the label. A label
is never lost because its image cannot be scored: then it is kept without a table, and the
annotator is told why.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from app.arrays import AxialImage, decode_image, find_image
from app.calcium.labels import CALCIUM_LABELS
from app.calcium.score import calcium_scores
from app.errors import CacLabelError, LabelError
from app.imaging.labelmap import read_label_map
from app.imaging.orientation import to_axial
from app.intake.label_check import CANONICAL_EXTENSION, CheckedLabel
from app.prediction_keys import prediction_key
from app.settings import Settings
from app.store.files import FileStore
from app.store.tables import ImageRow, Json, LabelRow, PredictionRow

_COMPARED: Final = ("agatston", "volume_mm3", "mass_mg", "lesions")
"""Figures of an artery, and of all."""


@dataclass(frozen=True)
class LabelScores:
    """What a label's calcium amounts to.

    Attributes:
        content_sha256: Content of the image it was scored on.
        calcium: Calcium table; None where the label does not speak about calcium, or there
            is a problem.
        difference: The label's figures minus those of the active model's prediction; None
            without one.
        problem: Why there is no table, in one sentence; empty where there is none to tell.
        bright_share: Share of the painted calcium that reaches the threshold, 0 to 1; None
            without any paint, or where the label was not scored.
    """

    content_sha256: str
    calcium: Json | None = None
    difference: Json | None = None
    problem: str = ""
    bright_share: float | None = None


def score_label(
    settings: Settings,
    files: FileStore,
    image: ImageRow,
    checked: CheckedLabel,
    prediction: PredictionRow | None,
) -> LabelScores:
    """Score a checked label on its image.

    Args:
        settings: Settings of the deployment.
        files: Where the image is, if it was uploaded.
        image: The image.
        checked: The label.
        prediction: What the active model version says about the image, or None.
    """
    if not checked.covers.calcium:
        return LabelScores(image.content_sha256)
    try:
        opened = find_image(settings, image) or decode_image(settings, files, image)
    except CacLabelError as error:
        problem = f"the label was kept but its calcium could not be scored: {error}"
        return LabelScores(image.content_sha256, problem=problem)
    labels, _ = to_axial(_decoded(checked), checked.grid)
    table = _table(opened, labels, settings)
    is_comparable = prediction is not None and prediction.key == prediction_key(settings)
    return LabelScores(
        image.content_sha256,
        table,
        _difference(table, prediction) if prediction and is_comparable else None,
        bright_share=_bright_share(opened, labels),
    )


def keep(label: LabelRow, scores: LabelScores) -> None:
    """Keep the scores with a new version of a label, in the transaction that adds it.

    Raises:
        LabelError: If the image has become another one since it was scored.
    """
    if label.image.content_sha256 != scores.content_sha256:
        raise LabelError(f"image {label.image_id} changed meanwhile; load it again")
    if scores.calcium is not None:
        difference = {"difference": scores.difference} if scores.difference else {}
        label.scores = scores.calcium | difference


def _table(image: AxialImage, labels: NDArray[np.uint8], settings: Settings) -> Json:
    scores = calcium_scores(
        image.hu,
        labels,
        spacing_mm=image.spacing_mm,
        kvp=image.kvp,
        rule=settings.rule,
        mass_factor=settings.mass_factor,
    )
    return scores.to_json()


def _bright_share(image: AxialImage, labels: NDArray[np.uint8]) -> float | None:
    painted = image.hu[(labels > 0) & (labels <= max(CALCIUM_LABELS.values()))]
    return float((painted >= image.threshold_hu).mean()) if painted.size else None


def _decoded(checked: CheckedLabel) -> NDArray[np.uint8]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"label{CANONICAL_EXTENSION}"
        path.write_bytes(checked.canonical)
        return read_label_map(path).array.astype(np.uint8)


def _difference(table: Json, prediction: PredictionRow) -> Json:
    predicted = prediction.scores
    arteries = predicted.get("arteries", {})
    return {
        "model_version": prediction.model_version_id,
        "predicted_risk_category": predicted.get("risk_category"),
        "total": _minus(table["total"], predicted["total"]),
        "arteries": {
            name: _minus(scores, arteries[name])
            for name, scores in table["arteries"].items()
            if name in arteries
        },
    }


def _minus(label: Mapping[str, Any], predicted: Mapping[str, Any]) -> Json:
    return {name: label[name] - predicted[name] for name in _COMPARED}
