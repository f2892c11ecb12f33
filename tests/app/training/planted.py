"""A pool with labels, and networks whose weights say at once what they see."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import images, jobs, model_versions
from app.background.work import Progress, Units, WorkContext
from app.recipes import calcium
from app.settings import Settings
from app.store.tables import (
    AuditRow,
    ImageRow,
    JobRow,
    Json,
    LabelRow,
    ModelVersionRow,
    PatientSideRow,
)
from app.training.job import train
from app.training.plan import make_plan, read_plan, write_plan
from models.checkpoint import Checkpoint, save
from models.heads import SegmentationHead
from models.network import MultiTaskNetwork
from tests.app.conftest import Deployment
from tests.journeys.pool import write_label, write_pool

Sees = Literal["all", "nothing", "wrong artery"]
"""What a planted network makes of the candidates, which in this pool are all calcium of the LAD."""

_SURE = 20.0
_ARTERY = {"all": 2, "nothing": 2, "wrong artery": 4}


def judging_context(
    deployment: Deployment, folder: Path, *, labels: int, validation: int
) -> WorkContext:
    """Return what a worker has in a deployment with a pool, two of whose patients may judge."""
    settings = deployment.settings.model_copy(
        update={"profile": "small", "validation_percent": 50, "gate_patients": 2, "samples": 2}
    )
    context = WorkContext(settings, deployment.database, deployment.files, "cpu")
    add_pool(context, labels, folder, validation=validation)
    return context


def add_pool(context: WorkContext, count: int, folder: Path, *, validation: int) -> None:
    """Write tiny hearts into the studies folder and label each; the last are for validation."""
    studies = context.settings.studies_folder
    assert studies is not None
    studies.rmdir()
    write_pool(studies, count)
    images.scan_studies(context.database, context.settings, now=lambda: 1.0)
    for number in range(count):
        add_true_label(context, number, folder)
    with context.database.writing() as session:
        for number in range(count):
            key = session.get_one(ImageRow, f"case_{number}").patient_key
            is_held_out = number >= count - validation
            session.add(PatientSideRow(patient_key=key, is_validation=is_held_out, decided_at=1.0))


def add_true_label(context: WorkContext, number: int, folder: Path) -> None:
    """Label a heart as an expert would."""
    path = write_label(folder / f"label_{number}.nrrd", number)
    digest = context.files.put(path.read_bytes(), ".nrrd")
    with context.database.writing() as session:
        session.add(
            LabelRow(
                image_id=f"case_{number}",
                tag="final",
                version=1,
                sha256=digest,
                submitted_sha256=digest,
                submitted_name="label.nrrd",
                covers_calcium=True,
                covers_regions=True,
                annotator="a",
                created_at=1.0,
            )
        )


def queue(context: WorkContext, **options: object) -> JobRow:
    """Queue a training."""
    with context.database.writing() as session:
        # Each later than the one before: the newest is the one that people see.
        now = 2.0 + len(jobs.history(session, "train"))
        return jobs.request_job(session, "train", {"options": options}, now=now)


def request(context: WorkContext, **options: object) -> JobRow:
    """Queue a training and note that it runs."""
    job = queue(context, **options)
    with context.database.writing() as session:
        jobs.start(session, job.id, context.settings.worker_id, now=3.0)
    with context.database.reading() as session:
        return jobs.get_job(session, job.id)


def plant(context: WorkContext, job: JobRow, sees: Sees) -> ModelVersionRow:
    """Leave everything as a training does that was killed just before the judging."""
    with context.database.writing() as session:
        plan = make_plan(session, context.settings, job.request["options"])
    write_plan(context.settings.runs / job.id, plan)
    return plant_version(context, job, sees)


def plant_version(context: WorkContext, job: JobRow, sees: Sees) -> ModelVersionRow:
    """Leave the version of a training whose plan is written."""
    plan = read_plan(context.settings.runs / job.id)
    assert plan is not None
    path = model_versions.weights_path(context.settings, job.id)
    path.parent.mkdir(parents=True, exist_ok=True)
    facts: Json = {"training_labels": list(plan.training), "start": plan.start}
    digest = save(path, Checkpoint(network(context.settings).config, weights(sees, context), facts))
    with context.database.writing() as session:
        row = ModelVersionRow(
            job_id=job.id,
            parent_id=plan.before,
            sha256=digest,
            card=facts,
            label_count=len(plan.training) + len(plan.validation),
            is_active=False,
            created_at=4.0,
        )
        session.add(row)
    return row


def network(settings: Settings) -> MultiTaskNetwork:
    """Build the network of the deployment from a fixed seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return MultiTaskNetwork(calcium.network_config(settings))


def weights(sees: Sees, context: WorkContext) -> dict[str, torch.Tensor]:
    """Return weights whose last layers look at nothing and are sure of one answer."""
    built = network(context.settings)
    for name, class_ in (("region", _ARTERY[sees]), ("lesion", int(sees != "nothing"))):
        for layer in _last_layers(built, name):
            layer.weight.data.zero_()
            assert layer.bias is not None
            layer.bias.data.zero_()
            layer.bias.data[class_] = _SURE
    return dict(built.state_dict())


def _last_layers(built: MultiTaskNetwork, task: str) -> list[torch.nn.Conv2d]:
    head = built.heads[task]
    assert isinstance(head, SegmentationHead)
    layers: list[torch.nn.Module] = [head.output[-1], *head.coarse_outputs.values()]
    return [layer for layer in layers if isinstance(layer, torch.nn.Conv2d)]


def run(context: WorkContext, job: JobRow) -> tuple[list[str], Json]:
    """Run a job to its end as a worker would; returns its lines and its result."""
    lines, work = list[str](), train(context, job)
    while True:
        progress, result = advance(context, job, work)
        if progress is None:
            with context.database.writing() as session:
                jobs.finish(session, job.id, "done", [], now=9.0, result=result)
            return lines, result
        lines.append(progress.line or "")


def advance(context: WorkContext, job: JobRow, work: Units) -> tuple[Progress | None, Json]:
    """Run one unit and note its progress."""
    try:
        progress = next(work)
    except StopIteration as end:
        return None, end.value
    context.report(job.id, progress)
    return progress, {}


def add_version(context: WorkContext, sees: Sees) -> ModelVersionRow:
    """Let a planted network be judged as at the end of a training."""
    job = request(context)
    row = plant(context, job, sees)
    run(context, job)
    with context.database.reading() as session:
        return model_versions.get_version(session, row.id)


def versions(context: WorkContext) -> list[ModelVersionRow]:
    """Return every version, the oldest first."""
    with context.database.reading() as session:
        return list(session.scalars(select(ModelVersionRow).order_by(ModelVersionRow.id)))


def version_changes(session: Session) -> list[str]:
    """Return what was done with model versions, the oldest first."""
    rows = session.scalars(select(AuditRow).order_by(AuditRow.id))
    return [row.action for row in rows if row.subject.startswith("model version")]


def with_settings(context: WorkContext, **changes: object) -> WorkContext:
    """Return the same worker with other settings."""
    return replace(context, settings=context.settings.model_copy(update=changes))
