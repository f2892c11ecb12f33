"""The demonstration from an empty folder to its report."""

import json
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.errors import ConflictError, JobFailedError
from server.demo.annotator import Annotator
from server.demo.client import AnnotationClient
from server.demo.narration import Narrator
from server.demo.patients import Order, Patient, make_patients
from server.demo.plan import DemoPlan
from server.demo.real_scans import RealScan, add_to_studies, find_real_scans
from server.demo.records import DemoRecord, RealRecord
from server.demo.report import write_report
from server.demo.rounds import Loop
from server.demo.server_process import private_settings, running_server
from server.demo.waiting import Step, Waiting

_MARKER: Final = "demo.json"
"""File by which a folder of an earlier demonstration is known."""

_CLIENT: Final = "demo-annotator"
_START_S: Final = 120.0
"""Longest time for server and worker to start."""


@dataclass(frozen=True)
class Stage:
    """Where the demonstration plays.

    Attributes:
        plan: What to do.
        out: Folder for everything.
        narrator: Says what happens.
    """

    plan: DemoPlan
    out: Path
    narrator: Narrator


def run_demo(plan: DemoPlan, out: Path, narrator: Narrator) -> DemoRecord:
    """Play the demonstration and write its report.

    Args:
        plan: What to do.
        out: Folder for everything; one of an earlier demonstration is emptied first.
        narrator: Says what happens.

    Returns:
        What was measured; the report lies in the folder.

    Raises:
        ConflictError: If the folder holds anything else.
        CacLabelError: If any step fails.
    """
    prepare_folder(out, plan)
    stage = Stage(plan, out.resolve(), narrator)
    narrator.say(f"{plan.pool} synthetic patients, {plan.rounds} rounds; for research use only")
    pool = _make(stage, is_pool=True)
    test = _make(stage, is_pool=False)
    record = DemoRecord(plan, test, making_s=narrator.elapsed_s)
    with _server(stage) as (client, waiting):
        _wait_for_pool(stage, client, waiting)
        record.version = client.version()
        record.starting_s = narrator.elapsed_s - record.making_s
        _play(stage, record, pool, client, waiting)
    record.total_s = narrator.elapsed_s
    narrator.progress("writing the report")
    write_report(record, stage.out)
    return record


def prepare_folder(out: Path, plan: DemoPlan) -> None:
    """Make the folder, or empty it when an earlier demonstration lies in it.

    Raises:
        ConflictError: If it holds anything else.
    """
    if out.exists() and any(out.iterdir()):
        if not (out / _MARKER).is_file():
            raise ConflictError(
                f"the folder {out.name!r} holds something else; choose an empty one"
            )
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / _MARKER).write_text(json.dumps({"seed": plan.seed}), encoding="utf-8")


def table_lines(record: DemoRecord) -> list[str]:
    """Return the rounds as a table for a terminal."""
    lines = ["round  labels  training s     F1    ICC  Agatston MAE"]
    for one in record.rounds:
        figures = one.judgement.figures
        lines.append(
            f"{one.number:5d}  {one.label_count:6d}  {one.training_s:10.0f}"
            f"  {figures.volume_f1:5.3f}  {figures.agatston_icc:5.3f}"
            f"  {figures.agatston_mae:12.1f}"
        )
    return lines


def _make(stage: Stage, *, is_pool: bool) -> tuple[Patient, ...]:
    """Make the patients of the pool, or those to test on, which the server never finds."""
    plan = stage.plan
    count = plan.pool if is_pool else plan.test
    orders = [
        Order(
            seed=plan.seed if is_pool else plan.test_seed,
            index=index,
            size=plan.size,
            images=stage.out / ("studies" if is_pool else "test"),
            labels=stage.out / "oracle",
            is_dicom=is_pool and index % plan.dicom_every == 0,
        )
        for index in range(count)
    ]
    purpose = "for the pool" if is_pool else "to test on"
    stage.narrator.say(f"Making {count} synthetic patients {purpose}, {plan.size_text} voxels each")
    patients = []
    for patient in make_patients(orders):
        patients.append(patient)
        stage.narrator.progress(f"{len(patients)}/{count} made")
    return tuple(patients)


@contextmanager
def _server(stage: Stage) -> Iterator[tuple[AnnotationClient, Waiting]]:
    """Run the server for the length of the block."""
    stage.narrator.say("Starting the server and its worker on this machine")
    settings = private_settings(
        stage.out,
        studies=stage.out / "studies",
        profile=stage.plan.profile,
        seed=stage.plan.seed,
        samples=stage.plan.samples,
        scan_seconds=2.0,
    )
    with (
        running_server(settings, stage.out / "server.log") as server,
        closing(AnnotationClient(server.url, _CLIENT)) as client,
    ):
        yield client, Waiting(server, stage.narrator)


def _wait_for_pool(stage: Stage, client: AnnotationClient, waiting: Waiting) -> None:
    text = "waiting for the server and its worker"
    waiting.until_done(lambda: Step(client.is_ready(), 0.0, text), _START_S)
    _wait_for_images(client, waiting, stage.plan.pool)
    url = waiting.server.url
    stage.narrator.say(f"The server answers at {url} and has read {client.image_count()} images")


def _wait_for_images(client: AnnotationClient, waiting: Waiting, expected: int) -> None:
    """Wait until the server has read the studies folder."""

    def look() -> Step:
        found = client.image_count()
        text = f"the server has read {found} of {expected} images"
        return Step(found + len(client.refused()) >= expected, found, text)

    waiting.until_done(look)


def _play(
    stage: Stage,
    record: DemoRecord,
    pool: tuple[Patient, ...],
    client: AnnotationClient,
    waiting: Waiting,
) -> None:
    oracle = {patient.patient_id: patient for patient in pool}
    annotator = Annotator(client, oracle, stage.out / "annotator", stage.narrator)
    real = find_real_scans()
    loop = Loop(
        plan=stage.plan,
        client=client,
        annotator=annotator,
        test=record.test,
        folder=stage.out / "masks",
        real=frozenset(scan.image_id for scan in real),
        waiting=waiting,
        narrator=stage.narrator,
    )
    for number in range(1, stage.plan.rounds + 1):
        if number == stage.plan.rounds and real:
            stage.narrator.say(f"{len(real)} real scans arrive in the studies folder")
            add_to_studies(real, stage.out / "studies")
            _wait_for_images(client, waiting, stage.plan.pool + len(real))
        labels = record.rounds[-1].label_count if record.rounds else 0
        record.rounds.append(loop.play(number, labels))
    _check_labels(record, client)
    record.real.extend(_predict_real(stage, real, client, waiting))


def _check_labels(record: DemoRecord, client: AnnotationClient) -> None:
    """Compare what was sent with what is in the store.

    Raises:
        JobFailedError: If a label is missing.
    """
    sent = {label.image_id for one in record.rounds for label in one.labels}
    missing = sorted(sent - client.labeled_images())
    if missing:
        raise JobFailedError(f"{len(missing)} submitted labels are not in the store: {missing}")


def _predict_real(
    stage: Stage, real: list[RealScan], client: AnnotationClient, waiting: Waiting
) -> Iterator[RealRecord]:
    """Get what the last model says about the real scans; the server has begun by itself."""
    wanted = {scan.image_id for scan in real}

    def look() -> Step:
        predicted, _ = client.unlabeled_images()
        done = len(wanted & predicted)
        text = f"the server predicts the real scans, which are large: {done} of {len(wanted)} done"
        return Step(done == len(wanted), done, text)

    waiting.until_done(look)
    for scan in real:
        image = client.download(scan.image_id, stage.out / "annotator" / "real")
        prediction = client.infer_image(scan.image_id, stage.out / "masks" / "real")
        yield RealRecord(scan, image, prediction)
