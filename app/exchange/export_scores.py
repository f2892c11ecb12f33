"""Calcium scores of the labels as a table, ``scores.csv``: one row a label version."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import select

from app.arrays import load_image, load_label
from app.calcium.labels import ARTERIES
from app.calcium.score import ArteryScore, CalciumScores, calcium_scores
from app.errors import CacLabelError
from app.exchange.coca_scores import REFERENCE_KEY
from app.exchange.data_folder import DataFolder
from app.exchange.export_nifti import timestamp
from app.exchange.target import Target
from app.inference import find_prediction
from app.intake.pool import is_available
from app.store.tables import ImageRow, LabelRow

FILE_NAME: Final = "scores.csv"

_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")
"""First characters that make a spreadsheet run a text as a formula."""

_VALUES: Final = ("agatston", "volume_mm3", "mass_mg", "lesions")
"""Columns of each artery and of the total."""

_LABEL_COLUMNS: Final = ("tag", "version", "annotator", "submitted", "annotation_seconds")

_Cell = str | float | int
_Row = dict[str, _Cell]


class ScoresExporter:
    """Scores each label version; one that speaks of no calcium has empty scores."""

    def __init__(self, data: DataFolder, target: Target, *, with_patient_ids: bool = False) -> None:
        """Remember where from and where to."""
        self._data = data
        self._target = target
        self._with_patient_ids = with_patient_ids
        self._rows: list[_Row] = []

    def export(self, image: ImageRow, label: LabelRow) -> str:
        """Score a label version for its row; one that cannot be scored has the reason there."""
        about: _Row = {
            "tag": label.tag,
            "version": label.version,
            "annotator": label.annotator,
            "submitted": timestamp(label.created_at),
        }
        if label.annotation_seconds is not None:
            about["annotation_seconds"] = round(label.annotation_seconds, 1)
        row = {**self._image_cells(image), **about}
        self._rows.append(row)
        if not label.covers_calcium:
            row["remark"] = "the label does not speak of calcium"
            return "written without scores"
        try:
            row.update(_score_cells(self._score(image, label)))
        except CacLabelError as error:
            row["remark"] = str(error)
            raise
        return "written"

    def finish(self) -> None:
        """Write the table, with the images that have reference scores and no label at its end."""
        labeled = {row["image"] for row in self._rows}
        self._rows += [
            self._image_cells(image) for image in self._referenced() if image.id not in labeled
        ]
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._columns(), restval="")
        writer.writeheader()
        writer.writerows({key: _cell(value) for key, value in row.items()} for row in self._rows)
        # Spreadsheets take a file without the mark for their own code page.
        self._target.add_bytes(FILE_NAME, text.getvalue().encode("utf-8-sig"))

    def _columns(self) -> Sequence[str]:
        scores = [f"{part}_{value}" for part in ("total", *ARTERIES) for value in _VALUES]
        return (
            "image",
            *(("patient_id",) if self._with_patient_ids else ()),
            *("study_uid", "series_uid", "kvp"),
            *_LABEL_COLUMNS,
            *scores,
            *("risk_category", "cac_drs", "rule", "threshold_hu"),
            *("model_version", "model_agatston", "reference_agatston", "remark"),
        )

    def _image_cells(self, image: ImageRow) -> _Row:
        row: _Row = {"image": image.id, "study_uid": image.study_uid}
        row |= {"series_uid": image.series_uid, "kvp": "" if image.kvp is None else image.kvp}
        if self._with_patient_ids:
            row["patient_id"] = image.patient_id
        return {**row, **self._model_cells(image.id), **_reference_cells(image)}

    def _model_cells(self, image_id: str) -> _Row:
        """Return what the active model version says, when it was scored by the same rule."""
        with self._data.database.reading() as session:
            found = find_prediction(session, image_id)
        if found is None or found.scores.get("rule") != self._data.settings.rule:
            return {}
        total = found.scores["total"]["agatston"]
        return {"model_version": found.model_version_id, "model_agatston": total}

    def _score(self, image: ImageRow, label: LabelRow) -> CalciumScores:
        axial = load_image(self._data.settings, self._data.files, image)
        return calcium_scores(
            axial.hu,
            load_label(self._data.files, axial, label.sha256),
            spacing_mm=axial.spacing_mm,
            kvp=axial.kvp,
            rule=self._data.settings.rule,
            mass_factor=self._data.settings.mass_factor,
        )

    def _referenced(self) -> list[ImageRow]:
        wanted = (
            select(ImageRow).where(is_available()).order_by(ImageRow.registered_at, ImageRow.id)
        )
        with self._data.database.reading() as session:
            return [image for image in session.scalars(wanted) if REFERENCE_KEY in image.info]


def _score_cells(scores: CalciumScores) -> _Row:
    parts: Mapping[str, ArteryScore] = {"total": scores.total, **scores.arteries}
    row: _Row = {
        f"{name}_{value}": part.to_json()[value]
        for name, part in parts.items()
        for value in _VALUES
    }
    return row | {
        "risk_category": scores.risk_category,
        "cac_drs": scores.cac_drs,
        "rule": scores.rule,
        "threshold_hu": scores.threshold_hu,
        "remark": "; ".join(scores.warnings),
    }


def _reference_cells(image: ImageRow) -> _Row:
    reference = image.info.get(REFERENCE_KEY)
    agatston = reference.get("agatston") if isinstance(reference, dict) else None
    total = agatston.get("total") if isinstance(agatston, dict) else None
    return {"reference_agatston": total} if isinstance(total, int | float) else {}


def _cell(value: _Cell) -> _Cell:
    is_formula = isinstance(value, str) and value.startswith(_FORMULA_STARTS)
    return f"'{value}" if is_formula else value
