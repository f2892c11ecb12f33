"""An annotator's round in OHIF, in a real browser against a real server."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from app.calcium.labels import LABELS
from app.imaging.labelmap import read_label_map
from tests.journeys.dicom_pool import plant_predictions, planted_labels, write_series_pool
from tests.journeys.serving import RunningServer, started, wait_until
from tests.journeys.viewing import Viewer, viewing

pytestmark = [
    pytest.mark.slow,
    # Playwright's driver leaves closing its pipes to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

_COUNT = 2

_ANNOTATOR = "dr-a"

_EXPECTED = ("check_if_running", "404 (Not Found)", "infer/lesion_click", "422 (Unprocessable")
"""The panel asks whether a training runs, and 404 is how this protocol says no; one test
clicks without an artery."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("ohif")
    studies = write_series_pool(folder / "studies", _COUNT)
    with started(studies, folder / "data") as running:
        wait_until(lambda: running.has_worker() and running.images() == _COUNT, running)
        yield running


@pytest.fixture(scope="module")
def image_ids(server: RunningServer) -> dict[str, str]:
    """Plant the predictions; returns the image of each patient."""
    return plant_predictions(server.data)


@pytest.fixture(scope="module")
def viewer(server: RunningServer, image_ids: dict[str, str]) -> Iterator[Viewer]:
    """Open the viewer with the first patient's series, segmented by the model."""
    assert len(image_ids) == _COUNT
    with viewing(server.url) as viewer:
        viewer.open_list("patient-0", annotator=_ANNOTATOR)
        viewer.open_study(study_of(server, "patient-0"))
        viewer.connect()
        viewer.segment()
        yield viewer


def study_of(server: RunningServer, patient: str) -> str:
    found = server.request("GET", f"/proxy/dicom/qido/studies?PatientID={patient}").json()
    assert len(found) == 1
    return str(found[0]["0020000D"]["Value"][0])


def test_the_panel_knows_its_server_without_typing(viewer: Viewer, server: RunningServer) -> None:
    assert viewer.page.input_value("#monailabelServerURL") == server.url + "/"


def test_what_the_model_found_is_shown_where_it_is(viewer: Viewer) -> None:
    shown = viewer.labelmap()
    planted = planted_labels(0)
    for name, value in LABELS.items():
        np.testing.assert_array_equal(shown == viewer.segments().get(name), planted == value)


def test_calcium_is_shown_on_bright_voxels_only(viewer: Viewer) -> None:
    calcium = [viewer.segments()[name] for name in ("LAD", "RCA")]
    hu = viewer.image()[np.isin(viewer.labelmap(), calcium)]
    # 2 slices of 4 x 4 voxels and 3 slices of 5 x 3 voxels, all of 400 HU.
    assert hu.size == 77
    assert set(hu) == {400}


def test_the_next_sample_leads_to_its_study(viewer: Viewer, server: RunningServer) -> None:
    sample = viewer.next_sample()
    assert sample["StudyInstanceUID"] in (
        study_of(server, "patient-0"),
        study_of(server, "patient-1"),
    )


def test_a_sample_is_offered_to_who_opened_the_viewer(
    viewer: Viewer, server: RunningServer
) -> None:
    viewer.next_sample()
    connection = sqlite3.connect(server.data / "caclabel.sqlite")
    try:
        assert set(connection.execute("SELECT client_id FROM leases")) == {(_ANNOTATOR,)}
    finally:
        connection.close()


def test_a_saved_label_is_what_was_shown(
    viewer: Viewer, server: RunningServer, image_ids: dict[str, str], tmp_path: Path
) -> None:
    viewer.save_label()
    image_id = image_ids["patient-0"]
    labels = server.request("GET", "/datastore/?output=all").json()["objects"][image_id]["labels"]
    assert "final" in labels
    assert server.labeled() == 1
    answer = server.request("GET", f"/datastore/label?label={image_id}&tag=final")
    path = tmp_path / "label.nrrd"
    path.write_bytes(answer.content)
    np.testing.assert_array_equal(read_label_map(path).array, planted_labels(0))


def test_a_label_names_who_opened_the_viewer(server: RunningServer) -> None:
    connection = sqlite3.connect(server.data / "caclabel.sqlite")
    try:
        assert set(connection.execute("SELECT annotator FROM labels")) == {(_ANNOTATOR,)}
    finally:
        connection.close()


def test_segments_without_voxels_are_saved_too(
    viewer: Viewer, server: RunningServer, image_ids: dict[str, str]
) -> None:
    viewer.save_label()
    entry = server.request("GET", "/datastore/?output=all").json()["objects"]
    info = entry[image_ids["patient-0"]]["labels"]["final"]["info"]
    assert {segment["name"] for segment in info["label_info"]} == set(LABELS)


def corner_of(lesion: NDArray[np.bool_]) -> tuple[int, int, int]:
    z, y, x = np.argwhere(lesion)[0]
    return int(z), int(y), int(x)


def test_a_click_gives_a_lesion_to_the_chosen_artery(viewer: Viewer) -> None:
    planted = planted_labels(0)
    lesion = planted == LABELS["LAD"]
    z, y, x = corner_of(lesion)
    viewer.show_slice(z)
    viewer.choose_point_prompts("lesion_click", "LCX")
    viewer.click_voxel((z, y + 1, x + 1))
    viewer.run("Point Prompts")
    # The panel alone draws no click on what is another segment: here the LAD's.
    expected = np.where(lesion, LABELS["LCX"], planted)
    np.testing.assert_array_equal(viewer.label(), expected)


def test_a_click_on_the_background_cuts(viewer: Viewer) -> None:
    lesion = planted_labels(0) == LABELS["LAD"]
    z, y, x = corner_of(lesion)
    viewer.choose_label("background")
    viewer.click_voxel((z, y + 3, x + 3))
    viewer.choose_label("LCX")
    viewer.run("Point Prompts")
    left = viewer.label() == LABELS["LCX"]
    assert left[z, y + 1, x + 1]
    assert not left[z, y + 3, x + 3]
    assert not (left & ~lesion).any()


def test_clicks_for_no_artery_are_refused_with_the_reason(viewer: Viewer) -> None:
    before = viewer.label()
    viewer.choose_label("background")
    viewer.run_in_vain("Point Prompts")
    viewer.page.get_by_text("choose the segment LM, LAD, LCX, RCA").first.wait_for()
    np.testing.assert_array_equal(viewer.label(), before)


def test_an_assigned_lesion_goes_where_the_network_sees_it(viewer: Viewer) -> None:
    planted = planted_labels(0)
    z, y, x = corner_of(planted == LABELS["LAD"])
    # The row only holds the points; the panel alone would draw no other artery than its own.
    viewer.choose_point_prompts("lesion_assign", "LCX")
    viewer.click_voxel((z, y + 1, x + 1))
    viewer.run("Point Prompts")
    np.testing.assert_array_equal(viewer.label(), planted)


def test_the_calcium_brush_paints_bright_voxels_only(viewer: Viewer) -> None:
    lesion = planted_labels(0) == LABELS["RCA"]
    z, y, x = corner_of(lesion)
    viewer.show_tools()
    viewer.show_slice(z)
    viewer.paint("LM", (z, y + 2, x + 1))
    painted = viewer.label() == LABELS["LM"]
    assert painted[z, y + 2, x + 1]
    assert not (painted & ~lesion).any()


def test_what_was_painted_is_saved(
    viewer: Viewer, server: RunningServer, image_ids: dict[str, str], tmp_path: Path
) -> None:
    viewer.save_label()
    image_id = image_ids["patient-0"]
    path = tmp_path / "label.nrrd"
    answer = server.request("GET", f"/datastore/label?label={image_id}&tag=final")
    path.write_bytes(answer.content)
    label = read_label_map(path).array
    assert (label == LABELS["LM"]).any()
    np.testing.assert_array_equal(label, viewer.label())


def test_nothing_went_wrong_and_nobody_else_was_asked(viewer: Viewer) -> None:
    unexpected = [
        error for error in viewer.errors if not any(known in error for known in _EXPECTED)
    ]
    assert unexpected == []
    assert viewer.foreign == [], json.dumps(viewer.foreign)
