"""Disks that fill up, take no writing or change what they hold, under a server that runs.

What was acknowledged stays, the answer says what is wrong, and afterwards everything works again.
"""

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import requests

from app.integrity.check import check_folder
from app.settings import Settings
from server.cli import main
from tests.journeys.disks import full, read_only, small_disk
from tests.journeys.pool import write_image, write_label
from tests.journeys.serving import RunningServer, started, wait_until

pytestmark = pytest.mark.slow

_DISK_MB = 48


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, scratch: Path) -> Iterator[RunningServer]:
    """Run a server without a worker on a small disk, with one image."""
    folder = tmp_path_factory.mktemp("faults")
    (folder / "studies").mkdir()
    with (
        small_disk(folder / "disk", _DISK_MB) as disk,
        started(
            folder / "studies", disk / "data", workers=0, disk_reserve_mb=0, upload_rate=0
        ) as running,
    ):
        image = write_image(scratch / "case_0.nii.gz", 0)
        answer = upload(running, image)
        assert answer.status_code == 200, answer.text
        yield running


def upload(server: RunningServer, image: Path) -> requests.Response:
    name = image.name.partition(".")[0]
    files = {"file": (image.name, image.read_bytes())}
    return server.request("PUT", f"/datastore/?image={name}", files=files)


def submit(server: RunningServer, content: bytes, annotator: str) -> requests.Response:
    files = {"label": ("label.nrrd", content)}
    params = {"params": f'{{"client_id": "{annotator}"}}'}
    return server.request("PUT", "/datastore/label?image=case_0", files=files, data=params)


def label(scratch: Path, seed: int) -> bytes:
    return write_label(scratch / f"label_{seed}.nrrd", seed).read_bytes()


def current_label(server: RunningServer) -> requests.Response:
    return server.request("GET", "/datastore/label?label=case_0&tag=final")


def submissions(data: Path) -> dict[str, str]:
    """Return the hash of what was submitted last by its annotator."""
    with closing(sqlite3.connect(data / "caclabel.sqlite")) as connection:
        found = connection.execute("SELECT annotator, submitted_sha256 FROM labels ORDER BY id")
        return dict(found.fetchall())


def test_a_full_disk_loses_nothing_and_is_told(server: RunningServer, scratch: Path) -> None:
    assert submit(server, label(scratch, 1), "before").status_code == 200
    kept = current_label(server).content
    with full(server.data):
        refused = submit(server, label(scratch, 2), "meanwhile")
        assert refused.status_code == 507, refused.text
        assert "disk" in refused.json()["detail"]
        assert upload(server, write_image(scratch / "case_1.nii.gz", 1)).status_code == 507
        assert current_label(server).content == kept
        health = server.request("GET", "/health")
        assert health.status_code == 503
        assert health.json()["missing"][0].startswith("the disk of the data folder is full")
        assert server.request("GET", "/health/live").status_code == 200
        assert server.request("GET", "/health/ready").status_code == 503
    assert server.request("GET", "/health/ready").status_code == 200
    assert submit(server, label(scratch, 2), "afterwards").status_code == 200
    assert upload(server, scratch / "case_1.nii.gz").status_code == 200
    assert {"before", "afterwards"} <= submissions(server.data).keys()
    assert "meanwhile" not in submissions(server.data)


def test_files_that_cannot_be_written_are_told(server: RunningServer, scratch: Path) -> None:
    assert submit(server, label(scratch, 3), "reader").status_code == 200
    with read_only(server.data / "files"):
        refused = submit(server, label(scratch, 4), "writer")
        assert refused.status_code == 503
        assert "the data folder cannot be written" in refused.json()["detail"]
        assert current_label(server).status_code == 200
        assert server.request("GET", "/health/ready").status_code == 503
    assert submit(server, label(scratch, 4), "writer").status_code == 200


def test_a_label_waits_for_another_program_that_writes(
    server: RunningServer, scratch: Path
) -> None:
    with closing(sqlite3.connect(server.data / "caclabel.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with ThreadPoolExecutor(1) as client:
            waiting = client.submit(submit, server, label(scratch, 5), "patient")
            # Whoever only reads does not wait.
            assert server.images() > 0
            assert "patient" not in submissions(server.data)
            other.execute("ROLLBACK")
            assert waiting.result().status_code == 200
    assert "patient" in submissions(server.data)


@pytest.mark.parametrize(
    ("pattern", "url", "owner"),
    [
        ("*.nrrd", "/datastore/label?label=case_0&tag=final", "of image case_0"),
        ("*.nii.gz", "/datastore/image?image=case_0", "it is image case_0"),
    ],
)
def test_a_damaged_file_is_not_served_and_listed(
    server: RunningServer, scratch: Path, pattern: str, url: str, owner: str
) -> None:
    submit(server, label(scratch, 6), "damaged")
    served = server.request("GET", url)
    assert served.status_code == 200
    (path,) = (
        path
        for path in (server.data / "files").rglob(pattern)
        if path.read_bytes() == served.content
    )
    path.write_bytes(served.content[:-1] + bytes([served.content[-1] ^ 1]))
    try:
        refused = server.request("GET", url)
        assert refused.status_code == 500
        assert "is damaged" in refused.json()["detail"]
        listed = {entry["path"]: entry["problem"] for entry in quarantine(server)}
        assert listed[f"data folder: {path.name}"].endswith(owner)
        assert server.request("GET", "/health").json()["damaged_files"] >= 1
        assert not check_folder(Settings(data=server.data)).is_sound
    finally:
        path.write_bytes(served.content)
    assert server.request("GET", url).content == served.content


def quarantine(server: RunningServer) -> list[dict[str, str]]:
    listed: list[dict[str, str]] = server.request("GET", "/quarantine").json()
    return listed


def refusal(data: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Start another server, which is expected to refuse, and return what it says."""
    assert main(["serve", "--workers", "0", "--port", "1", "--data", str(data)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def test_a_second_server_on_the_data_folder_is_refused(
    server: RunningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refusal(server.data, capsys)
    assert said.startswith("caclabel: another server runs on the data folder")
    assert server.images() > 0


def test_a_data_folder_that_takes_no_writing_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    with read_only(tmp_path / "data"):
        assert "cannot be written (Read-only file system)" in refusal(tmp_path / "data", capsys)


def test_a_backup_under_load_has_every_label_acknowledged_before(
    server: RunningServer, scratch: Path, tmp_path: Path
) -> None:
    contents = [label(scratch, seed) for seed in range(10, 18)]
    acknowledged: dict[str, bytes] = {}
    stop = threading.Event()

    def annotate() -> None:
        number = 0
        while not stop.is_set():
            name, content = f"load-{number}", contents[number % len(contents)]
            assert submit(server, content, name).status_code == 200
            acknowledged[name] = content
            number += 1

    with ThreadPoolExecutor(1) as client:
        annotator = client.submit(annotate)
        try:
            wait_until(lambda: len(acknowledged) >= 3 or annotator.done(), server)
            before = dict(acknowledged)
            assert main(["backup", str(tmp_path / "out"), "--data", str(server.data)]) == 0
            count = len(acknowledged)
            # The server went on meanwhile, and goes on.
            wait_until(lambda: len(acknowledged) > count or annotator.done(), server)
        finally:
            stop.set()
        annotator.result()
    restored = tmp_path / "restored"
    assert main(["restore", str(tmp_path / "out"), "--data", str(restored)]) == 0
    assert main(["check", "--data", str(restored)]) == 0
    hashes = submissions(restored)
    for name, content in before.items():
        (path,) = (restored / "files").rglob(f"{hashes[name]}.*")
        assert path.read_bytes() == content
