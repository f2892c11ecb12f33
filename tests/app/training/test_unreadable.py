"""Labels, images and weights that cannot be read cost a training themselves and nothing else."""

from pathlib import Path

import pytest
from sqlalchemy import delete, select

from app import images, model_versions
from app.background.sweep import sweep
from app.background.work import WorkContext
from app.errors import NotReadyError
from app.prediction import weights
from app.store.tables import JobRow, LabelRow, PredictionRow
from app.training.job import train
from app.training.plan import read_plan
from tests.app.conftest import Deployment
from tests.app.training import planted

LABELS, VALIDATION = 6, 3


@pytest.fixture
def context(deployment: Deployment, tmp_path: Path) -> WorkContext:
    return planted.judging_context(deployment, tmp_path, labels=LABELS, validation=VALIDATION)


def label_file(context: WorkContext, number: int) -> Path:
    with context.database.reading() as session:
        wanted = select(LabelRow.sha256).where(LabelRow.image_id == f"case_{number}")
        digest = session.scalars(wanted).one()
    return context.settings.files / digest[:2] / f"{digest}.nrrd"


def damage_label(context: WorkContext, number: int) -> Path:
    path = label_file(context, number)
    path.write_bytes(path.read_bytes()[:-1])
    return path


def lose_image(context: WorkContext, number: int) -> None:
    folder = context.settings.studies_folder
    assert folder is not None
    (folder / f"case_{number}.nii.gz").unlink()


def lines_until(context: WorkContext, job: JobRow, wanted: str) -> list[str]:
    """Run a training until it says something."""
    lines, work = list[str](), train(context, job)
    while wanted not in lines:
        progress, _ = planted.advance(context, job, work)
        assert progress is not None
        lines.append(progress.line or "")
    return lines


def quarantine(context: WorkContext) -> set[str]:
    with context.database.reading() as session:
        return {row.path for row in images.list_quarantine(session)}


def test_a_training_goes_on_without_what_cannot_be_read(context: WorkContext) -> None:
    damaged = damage_label(context, 0)
    lose_image(context, 1)
    damage_label(context, 5)
    job = planted.request(context, max_epochs=1)
    lines = lines_until(context, job, "starting")
    (told,) = [line for line in lines if line.startswith("left out")]
    assert told.startswith("left out 3 of 6 labels: image case_0: the stored file")
    assert "; image case_1: " in told
    plan = read_plan(context.settings.runs / job.id)
    assert plan is not None
    # Labels have the ids 1 to 6; a training that is taken up again goes on with the same ones.
    assert (plan.training, plan.validation) == ((3,), (4, 5))
    assert [(one.label, one.judges) for one in plan.left_out] == [
        (1, False),
        (2, False),
        (6, True),
    ]
    assert {f"data folder: {damaged.name}", "case_1.nii.gz"} <= quarantine(context)


def test_a_training_without_enough_that_can_be_read_is_refused(context: WorkContext) -> None:
    for number in range(LABELS - VALIDATION):
        damage_label(context, number)
    job = planted.request(context, max_epochs=1)
    with pytest.raises(NotReadyError, match="3 can be read, 0 of them not for validation"):
        lines_until(context, job, "starting")


def test_a_damaged_array_in_the_cache_is_made_anew(context: WorkContext) -> None:
    job = planted.request(context, max_epochs=1)
    lines_until(context, job, "starting")
    for path in (context.settings.cache / "arrays").glob("*.npy"):
        path.write_bytes(path.read_bytes()[:200])
    lines = lines_until(context, planted.request(context, max_epochs=1), "starting")
    assert not any(line.startswith("left out") for line in lines)


def test_both_versions_are_judged_on_the_same_images_that_are_left(context: WorkContext) -> None:
    planted.add_version(context, "all")
    job = planted.request(context)
    planted.plant(context, job, "all")
    damaged = damage_label(context, 4)
    _, result = planted.run(context, job)
    version = planted.versions(context)[-1]
    assert version.decision is not None
    assert (version.decision["patients"], version.decision["left_out"]) == (2, 1)
    assert result["is_promoted"] is True
    assert f"data folder: {damaged.name}" in quarantine(context)


def test_what_a_training_left_out_is_said_with_its_decision(context: WorkContext) -> None:
    planted.add_version(context, "all")
    damage_label(context, 0)
    damage_label(context, 4)
    damage_label(context, 5)
    job = planted.request(context, max_epochs=1)
    lines_until(context, job, "starting")
    planted.plant_version(context, job, "all")
    planted.run(context, job)
    version = planted.versions(context)[-1]
    assert version.decision is not None
    # Two of three validation images are missing: not enough to promote anything.
    assert version.reason.startswith("kept back: 2 validation images could not be read")
    assert [one["image"] for one in version.decision["labels_left_out"]] == [
        "case_0",
        "case_4",
        "case_5",
    ]
    with context.database.reading() as session:
        details = session.get_one(JobRow, job.id).details
    assert details[-1] == version.reason
    assert details[-2].startswith("left out 3 of 6 labels")


def test_a_version_is_kept_when_the_one_that_answers_cannot_be_judged(
    context: WorkContext,
) -> None:
    champion = planted.add_version(context, "nothing")
    path = model_versions.weights_path(context.settings, champion.job_id)
    content = path.read_bytes()
    path.unlink()
    with context.database.writing() as session:
        session.execute(delete(PredictionRow))
    # As in a worker that was started anew.
    weights._kept.cache_clear()
    challenger = planted.add_version(context, "all")
    assert challenger.reason.startswith(
        "kept back: version 1, which answers, could not be judged: the stored file models/"
    )
    assert challenger.card["metrics"]["volume_f1"] == 1.0
    listed = f"data folder: models/{path.name}"
    assert listed in quarantine(context)
    path.write_bytes(content)
    sweep(context)
    assert listed not in quarantine(context)
    with context.database.writing() as session:
        model_versions.promote(
            session, context.settings, challenger.id, actor="dr-a", now=9.0, reason=""
        )
