"""The stock client labels series of a real DICOMweb server, also while that is away."""

import hashlib
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
import pytest

from app.imaging.dicom.writer import write_series
from app.imaging.reader import read_volume
from app.imaging.volume import Identifiers
from app.imaging.volume_hash import content_hash
from tests.journeys.pool import write_image, write_label
from tests.journeys.serving import RunningServer, started, wait_until
from tests.orthanc import OrthancServer, orthanc

with warnings.catch_warnings():
    # The client needs the module cgi, which Python 3.13 has no longer got.
    warnings.filterwarnings("ignore", "'cgi' is deprecated", DeprecationWarning)
    from monailabel.client.client import MONAILabelClient

pytestmark = [
    pytest.mark.slow,
    # The client leaves closing its files and sockets to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

_USERS = {"caclabel": "s3cret"}

_NAMES = [{"name": "LAD", "idx": 2}, {"name": "LAD_region", "idx": 6}]


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrthancServer]:
    with orthanc(tmp_path_factory.mktemp("orthanc"), users=_USERS) as running:
        yield running


@pytest.fixture(scope="module")
def seeds(remote: OrthancServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Store three tiny hearts; returns the seed of each series."""
    folder, seeds = tmp_path_factory.mktemp("hearts"), {}
    for seed in range(3):
        volume = read_volume(write_image(folder / f"{seed}.nii.gz", seed))
        who = Identifiers(patient_id=f"patient-{seed}")
        files = write_series(folder / str(seed), replace(volume, identifiers=who))
        remote.upload(files)
        seeds[str(pydicom.dcmread(files[0]).SeriesInstanceUID)] = seed
    return seeds


@pytest.fixture(scope="module")
def server(
    remote: OrthancServer, seeds: dict[str, int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    settings = {
        "pacs_user": "caclabel",
        "pacs_password": _USERS["caclabel"],
        "pacs_sync_seconds": 2,
        "pacs_export": "false",
    }
    with started(remote.url, tmp_path_factory.mktemp("data"), **settings) as running:
        wait_until(lambda: running.has_worker() and running.images() == len(seeds), running)
        yield running


@pytest.fixture(scope="module")
def client(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return MONAILabelClient(server.url, str(tmp_path_factory.mktemp("client")), "user-xyz")


def is_reachable(server: RunningServer) -> bool:
    return bool(server.request("GET", "/health").json()["pacs"]["is_reachable"])


def prefetched(server: RunningServer) -> int:
    return len(list((server.data / "cache" / "images").glob("*.nii.gz")))


def submit(client: Any, image_id: str, seed: int, folder: Path) -> None:
    label = write_label(folder / f"{image_id}.nrrd", seed)
    answer = client.save_label(image_id, str(label), params={"label_info": _NAMES})
    assert answer["label"] == image_id


def test_a_sample_tells_where_it_comes_from_and_can_be_labeled(
    client: Any,
    server: RunningServer,
    remote: OrthancServer,
    seeds: dict[str, int],
    tmp_path: Path,
) -> None:
    wait_until(lambda: prefetched(server) == len(seeds), server)
    sample = client.next_sample("first", {})
    uid = sample["SeriesInstanceUID"]
    assert sample["id"] == uid
    assert sample["PatientID"] == f"patient-{seeds[uid]}"
    assert sample["Modality"] == "CT"
    study = sample["StudyInstanceUID"]
    assert sample["RetrieveURL"].endswith(f"/proxy/dicom/wado/studies/{study}/series/{uid}")
    content = server.request("GET", f"/datastore/image?image={uid}").content
    assert sample["checksum"] == f"SHA256:{hashlib.sha256(content).hexdigest()}"
    (tmp_path / sample["name"]).write_bytes(content)
    volume = read_volume(tmp_path / sample["name"])
    expected = read_volume(write_image(tmp_path / "expected.nii.gz", seeds[uid]))
    assert content_hash(volume) == content_hash(expected)
    submit(client, uid, seeds[uid], tmp_path)
    assert server.labeled() == 1


def test_labeling_goes_on_while_the_server_is_away(
    client: Any,
    server: RunningServer,
    remote: OrthancServer,
    seeds: dict[str, int],
    tmp_path: Path,
) -> None:
    wait_until(lambda: prefetched(server) == len(seeds) and is_reachable(server), server)
    labeled = server.labeled()
    remote.kill()
    try:
        wait_until(lambda: not is_reachable(server), server)
        assert server.images() == len(seeds)
        sample = client.next_sample("first", {})
        assert server.request("GET", f"/datastore/image?image={sample['id']}").status_code == 200
        submit(client, sample["id"], seeds[sample["id"]], tmp_path)
        assert server.labeled() == labeled + 1
    finally:
        remote.start()
    wait_until(lambda: is_reachable(server), server)
    assert server.images() == len(seeds)


def test_nothing_tells_the_password(server: RunningServer) -> None:
    answers = [server.request("GET", path).text for path in ("/health", "/info/", "/logs/")]
    log = (server.data / "logs" / "caclabel.log").read_text()
    assert not any(_USERS["caclabel"] in text for text in [*answers, log])
