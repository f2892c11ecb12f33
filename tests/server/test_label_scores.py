"""The calcium table that a submission is answered with."""

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from app.calcium.labels import ARTERIES, LABELS
from app.imaging.labelmap import write_label_map
from app.imaging.orientation import from_axial
from app.imaging.volume import Grid, Identifiers, Volume
from app.imaging.volume_writer import write_volume
from app.store.tables import ImageRow, Json, LabelRow, PredictionRow
from tests.factories import ORIENTATIONS, SHAPE, make_grid
from tests.server.conftest import Site
from tests.server.pool import add_model, add_prediction

AXIAL = np.zeros(SHAPE, np.uint8)
AXIAL[2, 2, 1:5] = LABELS["LAD"]
AXIAL[1, 1:4, 1:6] = LABELS["RCA_region"]
"""Four voxels of calcium in one slice, and a region elsewhere."""

SPACING_MM = (3.0, 0.5, 0.5)

LAD = {"agatston": 3.0, "volume_mm3": 3.0, "mass_mg": 3.0 * 310 * 0.000722, "lesions": 1}
"""4 voxels of 0.25 mm2 at 310 HU have weight 3 at an increment of 3 mm; and 0.75 mm3 each."""

NOTHING = dict.fromkeys(LAD, 0)


def write(site: Site, stored: Grid) -> None:
    """Put an image with the calcium of ``AXIAL`` into the pool, its file on the grid ``stored``."""
    hu = from_axial(np.where(LABELS["LAD"] == AXIAL, 310, 40).astype(np.int16), stored)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "case_1.nii.gz"
        write_volume(path, Volume(hu, stored, 120.0, Identifiers("p")))
        files = {"file": (path.name, path.read_bytes())}
    assert site.client.put("/datastore/?image=case_1", files=files).status_code == 200


def submit(site: Site, stored: Grid, axial: NDArray[np.uint8] = AXIAL) -> Json:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "label.nrrd"
        drawn = {name: value for name, value in LABELS.items() if (axial == value).any()}
        write_label_map(path, from_axial(axial, stored), stored, compress=True, names=drawn)
        files = {"label": (path.name, path.read_bytes())}
    answer = site.client.put("/datastore/label?image=case_1", files=files)
    assert answer.status_code == 200, answer.text
    body: Json = answer.json()
    return body


@pytest.fixture
def grid() -> Grid:
    return make_grid(spacing_mm=SPACING_MM)


@pytest.fixture
def ready(site: Site, grid: Grid) -> Site:
    """Return a site with the image case_1."""
    write(site, grid)
    return site


def label_row(site: Site) -> LabelRow:
    with site.services.database.reading() as session:
        return session.query(LabelRow).one()


@pytest.fixture
def predicted(ready: Site) -> Site:
    """Let the active model have seen 1.0 of Agatston too little in the LAD."""
    found = add_prediction(ready.services, "case_1", add_model(ready.services))
    with ready.services.database.writing() as session:
        row = session.get_one(PredictionRow, found)
        lad = {**LAD, "agatston": 2.0}
        row.scores = {
            **row.scores,
            "total": lad,
            "arteries": {name: lad if name == "LAD" else NOTHING for name in ARTERIES},
        }
    return ready


def test_an_answer_has_the_figures_of_each_artery(ready: Site, grid: Grid) -> None:
    answer = submit(ready, grid)
    assert (answer["image"], answer["label"]) == ("case_1", "case_1")
    calcium = answer["calcium"]
    assert calcium["total"] == pytest.approx(LAD)
    assert calcium["arteries"]["LAD"] == pytest.approx(LAD)
    assert calcium["arteries"]["RCA"] == NOTHING
    assert calcium["risk_category"] == "1-10"
    assert calcium["cac_drs"] == "A1/N1"
    assert calcium["rule"] == "agatston"


@pytest.mark.parametrize("orientation", range(0, len(ORIENTATIONS), 7))
def test_the_order_of_the_file_changes_nothing(site: Site, orientation: int) -> None:
    axial = make_grid(spacing_mm=(1.0, 1.0, 1.0))
    directions = ORIENTATIONS[orientation]
    # The shape of the file that has SHAPE in axial order.
    shape = np.abs(directions.T @ np.asarray(axial.shape[::-1])).astype(int)[::-1]
    stored = make_grid(
        (int(shape[0]), int(shape[1]), int(shape[2])),
        spacing_mm=(1.0, 1.0, 1.0),
        directions=directions,
    )
    write(site, stored)
    # 4 mm2 at weight 3, times an increment of 1 mm / 3 mm.
    assert submit(site, stored)["calcium"]["total"]["agatston"] == pytest.approx(4.0)


def test_the_table_is_kept_and_told_with_the_label(ready: Site, grid: Grid) -> None:
    answer = submit(ready, grid)
    assert label_row(ready).scores == answer["calcium"]
    info = ready.client.get("/datastore/label/info?label=case_1&tag=final").json()
    assert info["calcium"] == answer["calcium"]


def test_without_a_prediction_there_is_no_difference(ready: Site, grid: Grid) -> None:
    answer = submit(ready, grid)
    assert answer["difference"] is None
    assert answer["problem"] is None


def test_the_difference_is_label_minus_prediction(predicted: Site, grid: Grid) -> None:
    difference = submit(predicted, grid)["difference"]
    assert difference["total"] == pytest.approx({**NOTHING, "agatston": 1.0})
    assert difference["arteries"]["LAD"] == pytest.approx({**NOTHING, "agatston": 1.0})
    assert difference["arteries"]["LM"] == NOTHING
    assert difference["predicted_risk_category"] == "11-100"
    scores = label_row(predicted).scores
    assert scores is not None
    assert scores["difference"] == difference


def test_figures_of_another_rule_are_not_compared(predicted: Site, grid: Grid) -> None:
    with predicted.services.database.writing() as session:
        session.query(PredictionRow).one().key = "v1 of another rule"
    assert submit(predicted, grid)["difference"] is None


def test_a_label_of_regions_alone_says_nothing_of_calcium(predicted: Site, grid: Grid) -> None:
    regions = np.where(LABELS["RCA_region"] == AXIAL, AXIAL, 0).astype(np.uint8)
    answer = submit(predicted, grid, regions)
    assert answer["calcium"] is None
    assert answer["difference"] is None
    assert label_row(predicted).scores is None


def test_a_label_is_kept_when_its_image_cannot_be_scored(ready: Site, grid: Grid) -> None:
    with ready.services.database.reading() as session:
        image = session.get_one(ImageRow, "case_1")
    ready.services.files.path(image.path, ".nii.gz").unlink()
    # Decoded when it was uploaded.
    shutil.rmtree(ready.services.settings.cache / "arrays")
    answer = submit(ready, grid)
    assert answer["calcium"] is None
    assert answer["problem"].startswith("the label was kept but its calcium could not be scored")
    assert ready.stats()["completed"] == 1
    assert label_row(ready).scores is None


def test_a_prediction_tells_its_table_as_a_label_does(predicted: Site) -> None:
    url = "/datastore/label/info?label=case_1&tag=original"
    assert predicted.client.get(url).json()["calcium"]["total"]["agatston"] == 2.0


def test_what_the_info_of_a_client_says_never_hides_the_table(ready: Site, grid: Grid) -> None:
    submit(ready, grid)
    url = "/datastore/label/info?label=case_1&tag=final"
    ready.client.put(url, data={"info": json.dumps({"calcium": "none"})})
    assert ready.client.get(url).json()["calcium"]["total"] == pytest.approx(LAD)
