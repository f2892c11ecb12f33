"""The report: one HTML file that needs nothing else, made of what was measured."""

import base64
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from server.demo import charts
from server.demo.answers import CalciumTable
from server.demo.comparison import load_scan, predicted_scan
from server.demo.pictures import Panel, best_slice, draw_row
from server.demo.records import DemoRecord, RealRecord

REPORT_NAME: Final = "report.html"
RESULTS_NAME: Final = "results.json"

_SHOWN_PATIENTS: Final = 3


@dataclass(frozen=True)
class Picture:
    """A picture of the report.

    Attributes:
        uri: The file itself, as a data URI.
        caption: What it shows.
        table: Calcium table to stand below it, or None.
    """

    uri: str
    caption: str
    table: CalciumTable | None = None


def write_report(record: DemoRecord, folder: Path) -> Path:
    """Write the report and the bare figures, and return the file of the report."""
    environment = Environment(
        loader=PackageLoader("server.demo"), autoescape=True, undefined=StrictUndefined
    )
    html = environment.get_template("report.html.j2").render(
        record=record,
        plan=record.plan,
        rounds=record.rounds,
        last=record.rounds[-1],
        first=record.rounds[0],
        curve=_uri(charts.learning_curve(record.rounds), "image/svg+xml"),
        scores=_uri(charts.score_chart(record.rounds[-1].judgement.comparisons), "image/svg+xml"),
        patients=_patients(record),
        history=_history(record),
        real=[_real(entry) for entry in record.real],
        machine=f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    )
    path = folder / REPORT_NAME
    path.write_text(html, encoding="utf-8")
    (folder / RESULTS_NAME).write_text(json.dumps(results(record), indent=2), encoding="utf-8")
    return path


def results(record: DemoRecord) -> dict[str, object]:
    """Return the bare figures for programs."""
    return {
        "plan": asdict(record.plan),
        "version": record.version,
        "seconds": {
            "patients": round(record.making_s, 1),
            "start": round(record.starting_s, 1),
            "total": round(record.total_s, 1),
        },
        "rounds": [
            {
                "round": one.number,
                "strategy": one.strategy,
                "labels": one.label_count,
                "images": [label.image_id for label in one.labels],
                "ranking_s": round(one.ranking_s, 1),
                "training_s": round(one.training_s, 1),
                "judging_s": round(one.judgement.seconds, 1),
                "changed_voxels": one.changed_voxels,
                **asdict(one.judgement.figures),
            }
            for one in record.rounds
        ],
    }


def _patients(record: DemoRecord) -> list[Picture]:
    """Show patients from different parts of the range of scores."""
    judgement = record.rounds[-1].judgement
    order = np.argsort([one.true_agatston for one in judgement.comparisons])[::-1]
    places = np.linspace(0, len(order) - 1, min(_SHOWN_PATIENTS, len(order))).round().astype(int)
    return [_patient(record, index) for index in order[places].tolist()]


def _patient(record: DemoRecord, index: int) -> Picture:
    """Show a patient to test on as the last model sees it."""
    patient, judgement = record.test[index], record.rounds[-1].judgement
    one = judgement.comparisons[index]
    truth = load_scan(patient.image, patient.label)
    found = predicted_scan(truth, judgement.predictions[index].mask)
    panels = [Panel("image", truth, False), Panel("oracle", truth), Panel("prediction", found)]
    spread = f" (5-95 %: {one.interval[0]:.0f} to {one.interval[1]:.0f})" if one.interval else ""
    caption = (
        f"{patient.patient_id}: Agatston {one.true_agatston:.0f} true,"
        f" {one.found_agatston:.0f} found{spread}"
    )
    return _picture(panels, best_slice([truth, found]), caption)


def _history(record: DemoRecord) -> Picture:
    """Show the patient with most calcium as every round's model sees it."""
    comparisons = record.rounds[-1].judgement.comparisons
    index = int(np.argmax([one.true_agatston for one in comparisons]))
    truth = load_scan(record.test[index].image, record.test[index].label)
    panels = [Panel("oracle", truth)]
    for one in record.rounds:
        found = predicted_scan(truth, one.judgement.predictions[index].mask)
        panels.append(Panel(f"{one.label_count} labels", found))
    caption = f"{record.test[index].patient_id} as the model of each round sees it"
    return _picture(panels, best_slice([truth]), caption)


def _real(entry: RealRecord) -> Picture:
    found = load_scan(entry.image, entry.prediction.mask)
    panels = [Panel("image", found, False), Panel("prediction", found)]
    known = entry.scan.slice_index
    slice_index = best_slice([found]) if known is None else known
    caption = f"{entry.scan.title}, slice {slice_index + 1} of {found.hu.shape[0]} from the feet"
    return _picture(panels, slice_index, caption, entry.prediction.table)


def _picture(
    panels: Sequence[Panel], slice_index: int, caption: str, table: CalciumTable | None = None
) -> Picture:
    return Picture(_uri(draw_row(panels, slice_index), "image/png"), caption, table)


def _uri(content: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"
