"""The stock client of MONAI Label 0.8.5 runs the whole loop against a real server."""

import json
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.calcium.labels import CALCIUM_LABELS, LABELS
from app.imaging.geometry import same_grid
from app.imaging.labelmap import read_label_map
from tests.journeys.pool import grid, tiny_labels, write_image, write_label, write_pool
from tests.journeys.serving import RunningServer, serving, wait_until

with warnings.catch_warnings():
    # The client needs the module cgi, which Python 3.13 has no longer got.
    warnings.filterwarnings("ignore", "'cgi' is deprecated", DeprecationWarning)
    from monailabel.client.client import MONAILabelClient, MONAILabelClientException

pytestmark = [
    pytest.mark.slow,
    # The client leaves closing its files and sockets to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

_TRAINING_S = 240.0

_QUICK = (
    ("GET", "/info/"),
    ("GET", "/train/?check_if_running=true"),
    ("GET", "/auth/"),
    ("POST", "/activelearning/uncertainty"),
)
"""Calls that 3D Slicer makes in its interface's own thread."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("stock-client")
    studies = write_pool(folder / "studies", 6)
    with serving(studies, folder / "data", validation_percent=0) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return MONAILabelClient(server.url, str(tmp_path_factory.mktemp("client")), "user-xyz")


@pytest.fixture(scope="module")
def labeled(client: Any, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Label the first two samples as an annotator does; returns their ids."""
    folder = tmp_path_factory.mktemp("labels")
    done = []
    for strategy in ("random", "uncertainty"):
        image_id = client.next_sample(strategy, {})["id"]
        label = write_label(folder / f"{image_id}.nrrd", seed_of(image_id))
        names = [{"name": "LAD", "idx": 2}, {"name": "LAD_region", "idx": 6}]
        answer = client.save_label(image_id, str(label), params={"label_info": names})
        assert (answer["image"], answer["label"]) == (image_id, image_id)
        done.append(image_id)
    return done


@pytest.fixture(scope="module")
def trained(client: Any, server: RunningServer, labeled: list[str]) -> dict[str, Any]:
    """Train on the two labels; returns the task as it ended."""
    assert len(labeled) == 2
    task = client.train_start("calcium", {"max_epochs": "1"})
    assert task["status"] == "RUNNING"
    assert client.train_status(check_if_running=True)
    with pytest.raises(MONAILabelClientException) as refused:
        client.train_start("calcium", {"max_epochs": 1})
    assert "429" in refused.value.msg
    wait_until(lambda: not server.is_training(), server, _TRAINING_S)
    ended: dict[str, Any] = client.train_status()
    return ended


@contextmanager
def predicting(client: Any, image: Path) -> Iterator[None]:
    """Keep a worker busy with one prediction after the other."""
    stop = threading.Event()

    def predict() -> None:
        while not stop.is_set():
            client.infer("calcium", "", {}, file=str(image))

    with ThreadPoolExecutor(1) as others:
        running = others.submit(predict)
        try:
            yield
        finally:
            stop.set()
        running.result()


def seed_of(image_id: str) -> int:
    return int(image_id.removeprefix("case_"))


def check_mask(path: str) -> None:
    """Check that a mask lies on the grid of the image and holds known values only."""
    mask = read_label_map(Path(path))
    assert same_grid(mask.grid, grid())
    assert set(np.unique(mask.array)) <= {0, *LABELS.values()}


def test_nobody_has_to_log_in(client: Any) -> None:
    assert not client.auth_enabled()


def test_labels_are_counted_and_come_back_as_submitted(client: Any, labeled: list[str]) -> None:
    entries = client.datastore()["objects"]
    for image_id in labeled:
        assert entries[image_id]["labels"]["final"]["info"]["client_id"] == "user-xyz"
        label = read_label_map(Path(client.download_label(image_id, "final")))
        np.testing.assert_array_equal(label.array, tiny_labels(seed_of(image_id)))


def test_training_ends_done_and_offers_the_model(client: Any, trained: dict[str, Any]) -> None:
    assert trained["status"] == "DONE", trained["details"]
    info = client.info()
    assert info["models"]["calcium"]["labels"] == LABELS
    assert info["datastore"]["completed"] == 2
    assert info["train_stats"]["calcium"]["total_time"] > 0


@pytest.mark.usefixtures("trained")
class TestWithAModel:
    @pytest.mark.parametrize("extension", [".nrrd", ".nii.gz"])
    def test_infer_brings_a_mask_and_the_calcium_table(self, client: Any, extension: str) -> None:
        params = {"result_extension": extension, "result_dtype": "uint8"}
        path, table = client.infer("calcium", "case_0", params)
        assert path.endswith(extension)
        check_mask(path)
        assert table["label_names"] == LABELS
        assert set(table["calcium"]["arteries"]) == {"LM", "LAD", "LCX", "RCA"}
        shares = table["calcium"]["distribution"]["category_probabilities"]
        assert sum(shares.values()) == pytest.approx(1)

    def test_infer_takes_the_image_of_a_session(self, client: Any, server: RunningServer) -> None:
        opened = client.create_session(str(Path(server.studies) / "case_1.nii.gz"))
        session_id = opened["session_id"]
        assert client.get_session(session_id)["name"] == session_id
        path, _ = client.infer("calcium", "anything", {}, session_id=session_id)
        check_mask(path)
        client.remove_session(session_id)
        with pytest.raises(MONAILabelClientException) as gone:
            client.get_session(session_id)
        assert gone.value.status_code == 404

    def test_infer_takes_a_file(self, client: Any, tmp_path: Path) -> None:
        image = write_image(tmp_path / "somewhere.nii.gz", seed=77)
        path, _ = client.infer("calcium", "", {}, file=str(image))
        check_mask(path)

    def test_clicks_of_smart_edit_grow_a_label_that_is_submitted(self, client: Any) -> None:
        info = client.info()["models"]
        assert [name for name in info if info[name]["type"] == "deepgrow"] == ["lesion_click"]
        calcium = np.argwhere(tiny_labels(4) == LABELS["LAD"])
        z, y, x = (int(index) for index in calcium[0])
        # Every click of a segment comes again with the next one; the second is on nothing.
        points: list[list[int]] = []
        for point in ([x, y, z], [0, 0, 0]):
            points.append(point)
            params = {"label": "LAD", "foreground": points, "background": []}
            path, table = client.infer("lesion_click", "case_4", params)
            mask = read_label_map(Path(path))
            assert same_grid(mask.grid, grid())
            np.testing.assert_array_equal(mask.array, tiny_labels(4) == LABELS["LAD"])
            assert table["label_names"] == {"LAD": 1}
        assert "message" in table
        names = [{"name": "LAD", "idx": 1}]
        answer = client.save_label("case_4", path, params={"label_info": names})
        # 2 slices of 3 x 3 voxels of 1 mm2 at 400 HU, weight 4.
        assert answer["calcium"]["arteries"]["LAD"]["agatston"] == pytest.approx(72)
        assert answer["calcium"]["total"] == pytest.approx(
            {key: table["calcium"][key] for key in answer["calcium"]["total"]}
        )

    def test_clicks_without_an_artery_take_that_of_the_network(self, client: Any) -> None:
        _, table = client.infer("calcium", "case_5", {})
        z, y, x = (int(i) for i in np.argwhere(tiny_labels(5) == LABELS["LAD"])[0])
        # In this mode 3D Slicer sends the clicks under the names of all segments.
        points = {name: [[x, y, z]] if name == "LM" else [] for name in LABELS}
        path, table = client.infer("lesion_assign", "case_5", {**points, "label": "LM"})
        assert table["label_names"] == CALCIUM_LABELS
        values = set(np.unique(read_label_map(Path(path)).array)) - {0}
        # A network of one epoch may see no artery there; it never sees two.
        [lesion] = table["lesions"]
        assert values == ({CALCIUM_LABELS[lesion["artery"]]} if "artery" in lesion else set())

    def test_a_click_takes_the_image_of_a_session(self, client: Any, tmp_path: Path) -> None:
        image = write_image(tmp_path / "local.nii.gz", seed=3)
        session_id = client.create_session(str(image))["session_id"]
        z, y, x = (int(i) for i in np.argwhere(tiny_labels(3) == LABELS["LAD"])[0])
        params = {"label": "RCA", "foreground": [[x, y, z]], "background": []}
        path, _ = client.infer("lesion_click", "local", params, session_id=session_id)
        expected = tiny_labels(3) == LABELS["LAD"]
        np.testing.assert_array_equal(read_label_map(Path(path)).array, expected)

    def test_quick_questions_are_answered_beside_training_and_prediction(
        self, client: Any, server: RunningServer, tmp_path: Path
    ) -> None:
        image = write_image(tmp_path / "busy.nii.gz", seed=88)
        waiting = client.train_start("calcium", {"max_epochs": 50})["details"]
        wait_until(lambda: client.train_status()["details"] != waiting, server)
        with predicting(client, image):
            answers = [server.request(method, path) for method, path in _QUICK]
        assert [answer.status_code for answer in answers] == [200] * len(_QUICK)
        # Still running: nobody waited for the training. How quick it was, `make bench` tells.
        assert server.is_training()
        client.train_stop()

    def test_a_training_that_is_stopped_says_so(self, client: Any) -> None:
        started = client.train_start("calcium", {"max_epochs": 50})
        stopped = client.train_stop()
        assert stopped["id"] == started["id"]
        assert stopped["status"] == "STOPPED"
        assert stopped["details"][-1]
        assert client.train_stop() is None
        assert not client.train_status(check_if_running=True)


def test_an_upload_is_offered_as_a_sample(client: Any, tmp_path: Path) -> None:
    image = write_image(tmp_path / "extra.nii.gz", seed=99)
    assert client.upload_image(str(image), "extra") == {"image": "extra"}
    served = [client.next_sample("first", {}).get("id") for _ in range(6)]
    assert "extra" in served


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda client: client.infer("spleen", "case_0", {}), "known: calcium"),
        (lambda client: client.infer("calcium", "nobody", {}), "no image"),
        (lambda client: client.next_sample("nope", {}), "known: uncertainty"),
        (lambda client: client.download_label("case_0", "version_9"), "has no label"),
    ],
)
def test_a_refusal_is_one_sentence_for_the_dialog(client: Any, call: Any, words: str) -> None:
    with pytest.raises(MONAILabelClientException) as refused:
        call(client)
    body = json.loads(refused.value.msg.partition("Response: ")[2])
    assert set(body) == {"detail"}
    assert words in body["detail"]
