"""The endpoint tests that MONAI Label ships pass against a real server.

They are black-box but for one function that makes their client, so they are copied to an
empty folder, given a client of our server instead, and run there by their own rules. Only
the names of their models change: this server has one, `calcium`. Nothing of theirs is kept.
"""

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from app.calcium.labels import LABELS
from tests.journeys.pool import write_image, write_label
from tests.journeys.serving import RunningServer, serving, wait_until

pytestmark = pytest.mark.slow

FILES: Final = (
    # Trains first: predictions, batches and scorings need a model.
    "test_train",
    "test_infer",
    "test_batch_infer",
    "test_scoring",
    "test_scoring_v2",
    "test_datastore",
    "test_activelearning",
    "test_session",
    "test_info",
    "test_logs",
    "test_model",
    "test_ohif",
)
"""Left out: pathology, proxying and caching of DICOMweb, and models with a network of points."""

PASSING: Final = 41
"""Tests that are run; a number that sinks means that some were not found any more."""

NOT_MEANT_FOR_US: Final = {
    "test_train.py::TestBundleTrainTask": "bundles of MONAI are not offered",
    "test_train.py::TestDetectionBundleTrainTask": "bundles of MONAI are not offered",
    "test_datastore.py::EndPointDatastore::test_008_get_label_info": (
        "labels are served as .nrrd whatever came, so that every tag has one format"
    ),
    "test_session.py::EndPointSession::test_007_create_session_multiple_images": (
        "two volumes in one session are refused: one of them would be predicted, silently"
    ),
    "test_logs.py::TestEndPointLogs::test_logs_gpu": "there may be no graphics card",
    "test_ohif.py::TestEndPointLogs::test_ohif": "it expects no viewer; ours is served",
}
"""Tests of another product, with the reason."""

_NAMES: Final = (
    (r"segmentation_spleen_epistemic", "uncertainty"),
    (r"deepedit_seg|deepedit|segmentation_spleen", "calcium"),
    # They pause to let the original notice its own changes; ours are there at once.
    (r"time\.sleep\(5\)", "time.sleep(0.2)"),
)

_CONFIG: Final = """
class settings:
    MONAI_LABEL_SESSION_PATH = {sessions!r}
    MONAI_LABEL_DICOMWEB_CACHE_PATH = ""
"""

_TORCH: Final = """
class cuda:
    @staticmethod
    def is_available():
        # Otherwise most tests of trainings and predictions return before they do anything.
        return True
"""

_CONFTEST: Final = """
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).with_name("stub")))

import httpx2
import tests.unit.endpoints.context as context

context.create_client = lambda *_, **__: httpx2.Client(
    base_url={url!r}, follow_redirects=False, timeout=300
)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("monailabel-suite")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[RunningServer]:
    studies = folder / "tests" / "data" / "dataset" / "local" / "spleen"
    (studies / "labels" / "final").mkdir(parents=True)
    for seed in (2, 3, 6, 8, 9, 10):
        write_image(studies / f"spleen_{seed}.nii.gz", seed)
    for seed in (3, 6):
        write_label(studies / "labels" / "final" / f"spleen_{seed}.nii.gz", seed)
    # NIfTI has no place for names, so the index says which value is which.
    entry = {"labels": {"final": {"info": {"label_names": LABELS}}}}
    index = {"objects": {f"spleen_{seed}": entry for seed in (3, 6)}}
    (studies / "datastore_v2.json").write_text(json.dumps(index))
    with serving(studies, folder / "server", validation_percent=0, max_epochs=1) as running:
        # Labels of the folder are imported after its images.
        wait_until(lambda: running.labeled() == 2, running)
        yield running


def test_the_tests_of_monai_label_pass(folder: Path, server: RunningServer) -> None:
    copy_suite(folder, server)
    files = [f"tests/unit/endpoints/{name}.py" for name in FILES]
    skipped = [f"--deselect=tests/unit/endpoints/{name}" for name in NOT_MEANT_FOR_US]
    command = [sys.executable, "-m", "pytest", "-c", "/dev/null", "--rootdir", str(folder)]
    done = subprocess.run(
        [*command, "-q", "-p", "no:cacheprovider", *files, *skipped],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:]
    assert f"{PASSING} passed" in done.stdout


def copy_suite(folder: Path, server: RunningServer) -> None:
    """Copy the shipped tests and put our server in the place of the original."""
    shipped = shipped_tests()
    target = folder / "tests" / "unit" / "endpoints"
    target.mkdir(parents=True)
    for package in (folder / "tests", target.parent, target):
        (package / "__init__.py").touch()
    for name in ("context", *FILES):
        text = (shipped / f"{name}.py").read_text(encoding="utf-8")
        (target / f"{name}.py").write_text(adapted(name, text), encoding="utf-8")
    stub = folder / "stub" / "monailabel"
    stub.mkdir(parents=True)
    (stub / "__init__.py").touch()
    (stub / "config.py").write_text(_CONFIG.format(sessions=str(server.data / "sessions")))
    (folder / "stub" / "torch.py").write_text(_TORCH)
    (folder / "conftest.py").write_text(_CONFTEST.format(url=server.url))


def adapted(name: str, text: str) -> str:
    """Return a test file with our names; the pauses of the session tests are meant."""
    for pattern, ours in _NAMES:
        text = re.sub(pattern, ours, text)
    return text if name == "test_session" else text.replace("time.sleep(1)", "time.sleep(0)")


def shipped_tests() -> Path:
    """Return the folder of the endpoint tests in the installed wheel."""
    package = importlib.util.find_spec("monailabel")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parents[1] / "tests" / "unit" / "endpoints"
