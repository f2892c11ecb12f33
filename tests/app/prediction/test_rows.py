"""Predictions fit the content of their image, also when that changes meanwhile."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import select

from app import images, jobs
from app.arrays import load_image
from app.background.work import WorkContext, next_unit
from app.imaging.volume_writer import write_volume
from app.model_versions import weights_path
from app.prediction.jobs import score_pool
from app.prediction.prediction import predict
from app.prediction.rows import prediction_row
from app.prediction.weights import load_predictor
from app.store.files import FileStore
from app.store.tables import Json, PredictionRow
from models.checkpoint import Checkpoint, save
from models.network import MultiTaskNetwork
from strategies.aggregation import ImageUncertainty
from strategies.uncertainty import VarianceShares
from tests.app.conftest import Deployment
from tests.app.pool import add_model_version
from tests.factories import make_grid, make_volume
from tests.models.cases import tiny_network
from tests.models.test_network import lively_network


class InterruptedStore(FileStore):
    """A file store in which something happens whenever a file is put."""

    def __init__(self, files: FileStore, act: Callable[[], None]) -> None:
        super().__init__(files.root)
        self._act = act

    def put(self, content: bytes, extension: str) -> str:
        self._act()
        return super().put(content, extension)


def show(deployment: Deployment, seed: int, kvp: float = 120.0) -> None:
    """Let the file of the image show something else, and scan it."""
    volume = make_volume(make_grid((4, 32, 32)), seed=seed, kvp=kvp)
    write_volume(deployment.studies / "case.nii.gz", volume)
    images.scan_studies(deployment.database, deployment.settings, now=lambda: 1.0)


@pytest.fixture
def context(deployment: Deployment) -> WorkContext:
    show(deployment, seed=0)
    network: MultiTaskNetwork = lively_network(tiny_network())
    path = weights_path(deployment.settings, "job-1")
    path.parent.mkdir(parents=True)
    save(path, Checkpoint(network.config, network.state_dict()))
    with deployment.database.writing() as session:
        add_model_version(session)
    settings = deployment.settings.model_copy(update={"samples": 2})
    return WorkContext(settings, deployment.database, deployment.files, "cpu")


def score(context: WorkContext) -> Json:
    with context.database.writing() as session:
        request = {"model_version": 1, "images": ["case"]}
        job = jobs.request_job(session, "score", request, now=1.0)
    work = score_pool(context, job)
    progress, result = next_unit(work)
    while progress is not None:
        progress, result = next_unit(work)
    return result


def stored(context: WorkContext) -> list[PredictionRow]:
    with context.database.reading() as session:
        return list(session.scalars(select(PredictionRow)))


@pytest.mark.parametrize(("seed", "kvp"), [(1, 120.0), (0, 80.0)])
def test_an_image_whose_file_changed_meanwhile_is_predicted_anew(
    deployment: Deployment, context: WorkContext, seed: int, kvp: float
) -> None:
    tries: list[int] = []

    def act() -> None:
        tries.append(1)
        show(deployment, seed, kvp)

    assert score(replace(context, files=InterruptedStore(context.files, act)))["failed"] == 0
    (row,) = stored(context)
    with context.database.reading() as session:
        image = load_image(context.settings, context.files, images.get_image(session, "case"))
    weights = weights_path(context.settings, "job-1")
    predictor = load_predictor(weights, "cpu")
    expected = predict(predictor, image, context.settings)
    np.testing.assert_array_equal(np.frombuffer(row.embedding, "<f4"), expected.embedding)
    assert row.scores == expected.scores.to_json()
    assert row.lesion_count == expected.scores.total.lesions
    # Labels 1 to 4 are calcium, higher ones regions.
    with_calcium = [slice_ for slice_ in expected.labels if set(slice_.ravel()) & {1, 2, 3, 4}]
    assert row.slice_count == len(with_calcium) > 0
    assert len(tries) == 2


def test_an_image_that_never_holds_still_stays_unscored(
    deployment: Deployment, context: WorkContext
) -> None:
    changes = iter(range(1, 100))
    files = InterruptedStore(context.files, lambda: show(deployment, next(changes)))
    assert score(replace(context, files=files)) == {"images": 1, "failed": 1}
    assert stored(context) == []
    assert score(context) == {"images": 1, "failed": 0}


def test_every_measure_of_the_uncertainty_is_kept(context: WorkContext) -> None:
    with context.database.reading() as session:
        image = load_image(context.settings, context.files, images.get_image(session, "case"))
    weights = weights_path(context.settings, "job-1")
    predictor = load_predictor(weights, "cpu")
    made = replace(
        predict(predictor, image, context.settings),
        uncertainty=ImageUncertainty(1.0, 2.0, 3.0, 4.0, 5.0, (6.0, 7.0, 8.0, 9.0)),
        shares=VarianceShares(0.4, 0.3),
        category_entropy=0.2,
    )
    row = prediction_row(made, "case", 1, "0" * 64, context.settings)
    assert (row.foreground_uncertainty, row.top_uncertainty) == (1.0, 2.0)
    assert (row.pairwise_dice, row.lesion_uncertainty, row.entropy) == (3.0, 4.0, 5.0)
    by_artery = row.entropy_lm, row.entropy_lad, row.entropy_lcx, row.entropy_rca
    assert by_artery == (6.0, 7.0, 8.0, 9.0)
    assert (row.lesion_share, row.region_share, row.category_entropy) == (0.4, 0.3, 0.2)


def test_shares_that_too_few_samples_cannot_tell_are_unknown(context: WorkContext) -> None:
    # One of two samples repeats the masks in each head alone: no variance can be had of it.
    assert score(context)["failed"] == 0
    (row,) = stored(context)
    assert len(row.agatston_samples) == 2
    assert (row.lesion_share, row.region_share) == (None, None)
