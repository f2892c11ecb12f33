"""A process that scores two images with memory for only one of them; prints what came of it.

Run as a module with a folder as argument.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from sqlalchemy import select

from app import images, jobs
from app.background.work import WorkContext, next_unit
from app.errors import TooLittleMemoryError
from app.imaging.volume import Identifiers, Volume
from app.imaging.volume_writer import write_volume
from app.model_versions import weights_path
from app.prediction.jobs import predict_one, score_pool
from app.settings import Settings
from app.store.database import Database
from app.store.files import FileStore
from app.store.tables import JobRow, PredictionRow
from models.checkpoint import Checkpoint, save
from tests.app.pool import add_model_version
from tests.factories import make_grid
from tests.models.cases import tiny_network
from tests.models.starving import at_most
from tests.models.test_network import lively_network

_SIDES = {"large": 1024, "small": 32}

_LITTLE = 64 << 20
"""A slice of the large image needs several times as much, one of the small a tenth."""


def prepare(folder: Path) -> WorkContext:
    """Make a deployment with two images and a model version."""
    settings = Settings(studies=folder / "studies", data=folder / "data", samples=2)
    for path in (folder / "studies", settings.data):
        path.mkdir()
    database = Database(settings.database)
    database.migrate()
    for name, side in _SIDES.items():
        grid = make_grid((2, side, side))
        # Soft tissue and fat, without anything that may be calcium.
        hu = np.full(grid.shape, 40, np.int16)
        hu[:, : side // 2] = -100
        # The lowest value alone is taken for padding.
        hu[0, 0, 0] = -120
        volume = Volume(hu, grid, 120.0, Identifiers(patient_id=name))
        write_volume(folder / "studies" / f"{name}.nii.gz", volume)
    images.scan_studies(database, settings, now=lambda: 1.0)
    network = lively_network(tiny_network())
    path = weights_path(settings, "job-1")
    path.parent.mkdir(parents=True)
    save(path, Checkpoint(network.config, network.state_dict()))
    with database.writing() as session:
        add_model_version(session)
    return WorkContext(settings, database, FileStore(settings.files), "cpu")


def request(context: WorkContext, kind: jobs.JobKind, **wanted: object) -> JobRow:
    """Queue a job."""
    with context.database.writing() as session:
        return jobs.request_job(session, kind, {"model_version": 1, **wanted}, now=1.0)


def main(folder: Path) -> None:
    """Score both, then ask for the large one."""
    torch.set_num_threads(1)
    context = prepare(folder)
    score = request(context, "score", images=list(_SIDES))
    predict = request(context, "predict", image="large")
    problem = ""
    with at_most(_LITTLE):
        work = score_pool(context, score)
        progress, result = next_unit(work)
        while progress is not None:
            progress, result = next_unit(work)
        try:
            list(predict_one(context, predict))
        except TooLittleMemoryError as error:
            problem = str(error)
    with context.database.reading() as session:
        predicted = list(session.scalars(select(PredictionRow.image_id)))
    sys.stdout.write(json.dumps({"result": result, "predicted": predicted, "problem": problem}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
