"""Agreement of predictions with labels, by figures worked out by hand."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from app import images
from app.arrays import AxialImage
from app.background.work import WorkContext, next_unit
from app.calcium.labels import LABELS
from app.calcium.score import calcium_scores
from app.evaluation import EvaluationCase, agreement, evaluate_labels
from app.imaging.volume import Grid, Volume
from app.imaging.volume_writer import write_volume
from app.intake.label_check import encode_canonical
from app.prediction.prediction import Prediction
from app.recipes import calcium
from app.store.tables import JobRow, Json
from strategies.aggregation import ImageUncertainty
from strategies.uncertainty import VarianceShares
from tests.app.conftest import Deployment
from tests.app.pool import add_image, add_model_version, add_prediction
from tests.app.submitting import submit_label
from tests.factories import make_grid

SHAPE = (4, 16, 16)
_LAD = LABELS["LAD"]


def heart(bright: NDArray[np.bool_], grid: Grid) -> AxialImage:
    hu = np.where(bright, 400, -100).astype(np.int16)
    return AxialImage(hu, grid, grid, 120.0)


def block(columns: slice) -> NDArray[np.bool_]:
    mask = np.zeros(SHAPE, np.bool_)
    mask[1:3, 4:8, columns] = True
    return mask


def drawn(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return np.where(mask, np.uint8(_LAD), np.uint8(0)).astype(np.uint8)


def case(image: AxialImage, mask: NDArray[np.bool_]) -> EvaluationCase:
    training = calcium.training_case(
        "case", image, drawn(mask), covers_calcium=True, covers_regions=False
    )
    return EvaluationCase(image, drawn(mask), training)


def prediction(image: AxialImage, mask: NDArray[np.bool_]) -> Prediction:
    scores = calcium_scores(image.hu, drawn(mask), spacing_mm=image.spacing_mm, kvp=image.kvp)
    return Prediction(
        labels=drawn(mask),
        scores=scores,
        agatston_samples=np.zeros((0, 4)),
        clinical_uncertainty=0.0,
        category_entropy=0.0,
        uncertainty=ImageUncertainty(0.0, 0.0, 0.0, 0.0, 0.0, (0.0,) * 4),
        shares=VarianceShares(0.0, 0.0),
        region_uncertainty=0.0,
        has_candidates=True,
        embedding=np.zeros(1, np.float32),
        seconds=0.0,
    )


def test_f1_weighs_patients_by_volume_and_not_by_voxels(deployment: Deployment) -> None:
    everything = block(slice(4, 8))
    fine = heart(everything, make_grid(SHAPE, spacing_mm=(3.0, 1.0, 1.0)))
    coarse = heart(everything, make_grid(SHAPE, spacing_mm=(3.0, 2.0, 2.0)))
    nothing = np.zeros(SHAPE, np.bool_)
    pairs = [
        (case(fine, everything), prediction(fine, everything)),
        (case(coarse, everything), prediction(coarse, nothing)),
    ]
    found = agreement(pairs, deployment.settings)
    # 32 voxels each: 96 mm3 found, 384 mm3 missed; by voxels it would be 2/3.
    assert found.volume_f1 == pytest.approx(2 * 96 / (2 * 96 + 384))


def test_paint_below_the_threshold_is_no_calcium(deployment: Deployment) -> None:
    bright = block(slice(4, 6))
    image = heart(bright, make_grid(SHAPE, spacing_mm=(3.0, 1.0, 1.0)))
    too_far = block(slice(2, 9))
    found = agreement([(case(image, too_far), prediction(image, bright))], deployment.settings)
    assert found.volume_f1 == 1.0


def test_dice_forgives_paint_below_the_threshold(deployment: Deployment, tmp_path: Path) -> None:
    bright = block(slice(4, 6))
    image = heart(bright, make_grid(SHAPE, spacing_mm=(3.0, 1.0, 1.0)))
    path = tmp_path / "a.nrrd"
    write_volume(path, Volume(image.hu, image.grid, 120.0))
    painted = encode_canonical(drawn(block(slice(2, 9))), image.grid)
    kept_in = (deployment.files, deployment.settings)
    upload = images.check_upload(*kept_in, path=path, image_id="a", name="a.nrrd", info={}, now=1.0)
    with deployment.database.writing() as session:
        images.keep_upload(session, upload, now=1.0)
    path.write_bytes(painted)
    submit_label(deployment, "a", path)
    with deployment.database.writing() as session:
        row = add_prediction(session, "a", add_model_version(session).id, uncertainty=0.0)
        row.sha256 = deployment.files.put(encode_canonical(drawn(bright), image.grid), ".nrrd")
    assert evaluated(deployment, "dice") == {"a": {"dice": 1.0}}


def test_uncertainties_of_other_settings_are_not_told(deployment: Deployment) -> None:
    with deployment.database.writing() as session:
        for image in "ab":
            add_image(session, image)
        version = add_model_version(session).id
        add_prediction(session, "a", version, uncertainty=0.5)
        for image in "ab":
            add_prediction(session, image, version, uncertainty=0.25, key="other")
    measures = {"clinical_uncertainty": 0.5, "lesion_uncertainty": 0.5}
    assert evaluated(deployment, "uncertainty") == {"a": measures}


def evaluated(deployment: Deployment, method: str) -> Json:
    """Run a scoring method to its end."""
    context = WorkContext(deployment.settings, deployment.database, deployment.files, "cpu")
    work = evaluate_labels(context, JobRow(request={"method": method}))
    units = map(next_unit, itertools.repeat(work))
    return next(result for progress, result in units if not progress)
