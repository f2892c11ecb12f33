"""The log of a deployment: one file that the web process and its workers append to.

Concurrency: any thread and process. Only the one server of a data folder puts a log aside that
has grown too large; the others notice and go on in the new one.

Lines are short, and appending a short line to a file is one write, so that several
processes can share it. Nothing in it names a patient, and no key or token is in it.
"""

import logging
import logging.handlers
import shutil
import subprocess
import sys
import threading
import warnings
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Final

from fastapi import Response
from fastapi.responses import HTMLResponse, PlainTextResponse

from app.errors import NotFoundError
from app.settings import Settings
from app.store.files import make_private
from server.log_lines import JsonFormatter, LineFormatter, without_paths
from server.pages import render

logger = logging.getLogger(__name__)

_FORMAT: Final = "[%(asctime)s] [%(process)d] [%(levelname)s] (%(name)s) [%(trace)s] %(message)s"

_LARGEST_LOG_BYTES: Final = 20 << 20
"""A log larger than this is put aside by the server; one old log is kept."""

_GPU_TIMEOUT_S: Final = 10


def log_file(settings: Settings) -> Path:
    """Return where the log lies."""
    return settings.data / "logs" / "caclabel.log"


class _BoundedLog(logging.handlers.WatchedFileHandler):
    """Puts the log aside when it has grown too large."""

    def __init__(self, path: Path) -> None:
        self._path = path
        super().__init__(path)

    def emit(self, record: logging.LogRecord) -> None:
        # Every process appends to the same file: the place after a line is the size of all.
        if self.stream is not None and self.stream.tell() > _LARGEST_LOG_BYTES:
            _put_aside(self._path)
        super().emit(record)


def write_to_file(settings: Settings, *, is_server: bool = False) -> None:
    """Let this process log to the log of the deployment, and to standard error.

    Args:
        settings: Settings of the deployment.
        is_server: Whether this is the server, which keeps the log from growing for ever.
    """
    path = log_file(settings)
    # The first thing that a worker writes, which may be there before its server.
    make_private(settings.data)
    path.parent.mkdir(exist_ok=True)
    in_file = _BoundedLog(path) if is_server else logging.handlers.WatchedFileHandler(path)
    handlers: list[logging.Handler] = [in_file, logging.StreamHandler()]
    # They tell every plug-in, look at the schema, request to a DICOMweb server, DICOM module.
    for chatty in ("alembic", "dicomweb_client", "highdicom"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # Its remarks repeat values of DICOM headers, names of patients among them.
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"pydicom\b")
    # The job engine writes in a way of its own unless somebody else does.
    logging.getLogger("dbos").addHandler(logging.NullHandler())
    is_json = settings.log_format == "json"
    for handler in handlers:
        handler.setFormatter(JsonFormatter() if is_json else LineFormatter(_FORMAT))
    logging.basicConfig(level=logging.INFO, handlers=handlers, force=True)


def tell_uncaught_errors() -> None:
    """Log what ends this process or one of its threads, as everything else is logged."""
    logging.captureWarnings(capture=True)
    sys.excepthook = _tell_uncaught
    threading.excepthook = lambda told: _tell_uncaught(
        told.exc_type, told.exc_value or told.exc_type(), told.exc_traceback
    )


def _tell_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    logger.critical("an error that nobody caught", exc_info=(kind, error, trace))


def put_aside_if_large(settings: Settings) -> None:
    """Start a new log when the old one has grown too large."""
    path = log_file(settings)
    if path.exists() and path.stat().st_size > _LARGEST_LOG_BYTES:
        _put_aside(path)


def _put_aside(path: Path) -> None:
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
