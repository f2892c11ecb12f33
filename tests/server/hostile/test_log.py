"""The log: one line for one event, no patient, no folder of this machine."""

import io
import logging
import sys
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from server import logs
from server.log_lines import LineFormatter, without_paths
from tests.factories import edit_dicom, write_dicom
from tests.server.conftest import Site

PATIENT = "Marked^Patient^Name"


def fail() -> None:
    raise ValueError("bad\n[INFO] all is well\x1b[2J\r[INFO] really")


def line_of(message: str, *arguments: object, is_failing: bool = False) -> list[str]:
    """Return the lines that the log gets for an event."""
    caught = None
    if is_failing:
        try:
            fail()
        except ValueError:
            caught = sys.exc_info()
    record = logging.LogRecord("x", logging.ERROR, "x.py", 1, message, arguments, caught)
    return LineFormatter("[%(levelname)s] %(message)s").format(record).split("\n")


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\x0b", "\x1b[1A", "\x85", "\u2028", "\u202e"])
def test_a_name_cannot_forge_a_line(end: str) -> None:
    (line,) = line_of("no image %s", f"a{end}[INFO] all is well")
    assert line.startswith("[ERROR] no image a")
    assert line.isprintable()


def test_a_traceback_cannot_forge_a_line() -> None:
    first, *others = line_of("failed", is_failing=True)
    assert first == "[ERROR] failed"
    assert len(others) > 3
    assert all(line.startswith("    | ") and line.isprintable() for line in others)


def test_half_a_character_can_be_written() -> None:
    (line,) = line_of("no image %s", "\ud800")
    assert line.encode() == b"[ERROR] no image \\ud800"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('File "/usr/lib/python3/x.py", line 3', 'File "…/x.py", line 3'),
        ("[Errno 28] No space left: '/tmp/data/files/ab'", "[Errno 28] No space left: '…/ab'"),
        ("GET /datastore/image/info at http://host/tmp/x", None),
        ("expected calcium and/or regions, 1/2", None),
    ],
)
def test_folders_of_this_machine_are_left_out(text: str, told: str | None) -> None:
    assert without_paths(text) == (text if told is None else told)


def test_folders_with_blanks_are_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "of Patient"
    folder.mkdir()
    assert without_paths(f"{folder}/x.nii", folder) == "…/x.nii"


@pytest.fixture
def logged(site: Site) -> Iterator[Site]:
    """Return a site that writes its log as a server does."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with warnings.catch_warnings():
        logs.write_to_file(site.services.settings)
        yield site
    for handler in root.handlers:
        handler.close()
    root.handlers, root.level = handlers, level
    logging.getLogger("pydicom").setLevel(logging.NOTSET)


def dicom_of_patient(folder: Path) -> list[bytes]:
    """Return the slices of a series that names its patient, some of them damaged."""
    paths = write_dicom(folder)
    for path in paths:
        edit_dicom(path, PatientName=PATIENT, PatientComments=PATIENT, OtherPatientNames=PATIENT)
    edit_dicom(paths[0], PixelSpacing=None)
    contents = [path.read_bytes() for path in paths]
    # Values that no reader can understand, each with the name in them.
    broken = contents[1].replace(b"20200101", PATIENT[:8].encode())
    return [*contents, broken, contents[2][:-20], contents[3].replace(b"CT", b"MR")]


def test_no_name_of_a_patient_reaches_the_log(
    logged: Site, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    slices = dicom_of_patient(tmp_path / PATIENT)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        for number, content in enumerate(slices):
            packed.writestr(f"{PATIENT}/{number}.dcm", content)
    client = logged.client
    client.put("/session?uncompress=true", files={"files": ("x.zip", stream.getvalue())})
    edge = b"--edge\r\nContent-Type: application/dicom\r\n\r\n"
    for content in slices:
        for url in ("/datastore?image=x", "/session"):
            name = "files" if "session" in url else "file"
            client.put(url, files={name: (f"{PATIENT}.dcm", content)})
        body = edge + content + b"\r\n--edge--\r\n"
        headers = {"Content-Type": "multipart/related; boundary=edge"}
        client.post("/proxy/dicom/stow/studies", content=body, headers=headers)
    logging.getLogger("app.test").info("this one is written")
    page = client.get("/logs?text=true").text
    written = logs.log_file(logged.services.settings).read_text() + "".join(capfd.readouterr())
    for told in (page, written, client.get("/logs").text):
        assert "this one is written" in told
        # Each refusal of the store is a line.
        assert told.count("this server keeps DICOM segmentations only") > 3
        assert "Marked" not in told
