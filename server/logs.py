"""The log of a deployment: one file that the web process and its workers append to.

Lines are short, and appending a short line to a file is one write, so that several
processes can share it. Nothing in it names a patient, and no key or token is in it.
"""

import logging
import logging.handlers
import shutil
import subprocess
import warnings
from collections import deque
from pathlib import Path
from typing import Final

from fastapi import Response
from fastapi.responses import HTMLResponse, PlainTextResponse

from app.errors import NotFoundError
from app.settings import Settings
from server.log_lines import LineFormatter, without_paths
from server.pages import render

_FORMAT: Final = "[%(asctime)s] [%(process)d] [%(levelname)s] (%(name)s) %(message)s"

_LARGEST_LOG_BYTES: Final = 20 << 20
"""A log larger than this is put aside when the server starts; one old log is kept."""

_GPU_TIMEOUT_S: Final = 10


def log_file(settings: Settings) -> Path:
    """Return where the log lies."""
    return settings.data / "logs" / "caclabel.log"


def write_to_file(settings: Settings) -> None:
    """Let this process log to the log of the deployment, and to standard error."""
    path = log_file(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    handlers: list[logging.Handler] = [
        logging.handlers.WatchedFileHandler(path),
        logging.StreamHandler(),
    ]
    # They tell every plug-in, look at the schema, request to a DICOMweb server, DICOM module.
    for chatty in ("alembic", "dicomweb_client", "highdicom"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # Its remarks repeat values of DICOM headers, names of patients among them.
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"pydicom\b")
    for handler in handlers:
        handler.setFormatter(LineFormatter(_FORMAT))
    logging.basicConfig(level=logging.INFO, handlers=handlers, force=True)


def put_aside_if_large(settings: Settings) -> None:
    """Start a new log when the old one has grown too large."""
    path = log_file(settings)
    if path.exists() and path.stat().st_size > _LARGEST_LOG_BYTES:
        path.replace(path.with_suffix(".log.1"))


def tail(settings: Settings, lines: int) -> str:
    """Return the last ``lines`` lines of the log, or all of it for 0, without server paths.

    Raises:
        NotFoundError: If nothing was logged yet.
    """
    path = log_file(settings)
    if not path.exists():
        raise NotFoundError("there is no log yet; it starts with `caclabel serve`")
    with path.open(encoding="utf-8", errors="replace") as file:
        text = "".join(deque(file, maxlen=lines if lines > 0 else None))
    return without_paths(text, *filter(None, (settings.data, settings.studies_folder)))


def gpu_state() -> str:
    """Return what the driver says about the graphics cards.

    Raises:
        NotFoundError: If there is no driver.
    """
    program = shutil.which("nvidia-smi")
    if program is None:
        raise NotFoundError("this machine has no NVIDIA driver")
    # A fixed program without arguments of the client.
    done = subprocess.run(  # noqa: S603
        [program], capture_output=True, text=True, timeout=_GPU_TIMEOUT_S, check=False
    )
    return done.stdout + done.stderr


def page(text: str, *, refresh_s: int) -> Response:
    """Return a page that shows the text and loads itself again every ``refresh_s`` seconds."""
    return HTMLResponse(render("logs.html", text=text, refresh_s=refresh_s))


def plain(text: str) -> Response:
    """Return the text alone."""
    return PlainTextResponse(text)
