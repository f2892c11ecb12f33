"""``caclabel serve``: the web process, and the worker processes that belong to it."""

import argparse
import logging
import math
import socket
import ssl
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Final

import uvicorn

from app import images
from app.access.mode import check_binding, is_loopback
from app.errors import ConflictError, SettingsError
from app.exchange.data_folder import open_data_folder
from app.imaging.dicom.dicomweb import dicomweb_server, public_url
from app.integrity.readiness import one_server
from app.settings import Settings
from server import logs
from server.allocator import bound_arenas
from server.command_settings import add_data_arguments, settings_of
from server.dependencies import Services
from server.main import create_app
from server.stopping import PatientServer, leave, take_signals
from server.supervisor import worker_supervisors

DESCRIPTION = "serve a folder of CT volumes to 3D Slicer, OHIF and scripts"

_KEEP_ALIVE_S: Final = 75
"""How long an idle connection is kept: longer than clients and proxies keep theirs.

Where both end it after the same time, as httpx and uvicorn do after 5 s, a request is now and
then sent just when the server closes, and is lost; nginx keeps connections for 60 s.
"""

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the folders, the address and the number of workers."""
    add_data_arguments(parser)
    parser.add_argument("--host", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on (default: 8000)")
    parser.add_argument(
        "--workers", type=int, default=1, help="worker processes to start (default: 1)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until the process is asked to stop; then it ends."""
    bound_arenas()
    settings = settings_of(arguments)
    if settings.pacs_url is not None:
        dicomweb_server(settings)  # A filter that cannot work is told now.
    with one_server(settings):
        _check_access(settings)
        with _listen(settings) as listener:
            logs.put_aside_if_large(settings)
            logs.write_to_file(settings, is_server=True)
            logs.tell_uncaught_errors()
            # Uploads are spooled here: the disk of the data folder has room for volumes.
            tempfile.tempdir = str(images.incoming_folder(settings))
            _serve(settings, listener, worker_count=arguments.workers)
            leave()


def _check_access(settings: Settings) -> None:
    """Refuse to listen where strangers could come in.

    Raises:
        SettingsError: With what to set.
    """
    _check_certificate(settings.tls_certificate, settings.tls_key)
    if settings.access != "off" or not is_loopback(settings.host):
        # Checks what it is told about the identity provider, too.
        with open_data_folder(settings, make=True) as data, data.database.reading() as session:
            check_binding(session, settings, now=data.now())


def _check_certificate(certificate: Path | None, key: Path | None) -> None:
    """Refuse what nobody could be encrypted with, before anything starts."""
    if certificate is None and key is None:
        return
    if certificate is None or key is None:
        raise SettingsError("tls_certificate and tls_key are set together or not at all")
    for file in (certificate, key):
        if not file.is_file():
            raise SettingsError(f"there is no file {file} with a certificate or key")
    try:
        # Without an answer of ours, a key with a password would ask for it at the terminal.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key, password=lambda: "")
    except OSError as error:
        problem = error.reason if isinstance(error, ssl.SSLError) else error.strerror
        raise SettingsError(
            f"{certificate} and {key} cannot be used ({problem or error}); expected readable PEM"
            " files of a certificate and of its key without a password"
        ) from None


def _serve(settings: Settings, listener: socket.socket, *, worker_count: int) -> None:
    supervisors = worker_supervisors(settings, worker_count)
    application = create_app(settings)
    # The access log would hold image ids.
    config = uvicorn.Config(
        application,
        log_config=None,
        access_log=False,
        server_header=False,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
        timeout_graceful_shutdown=math.ceil(settings.shutdown_seconds),
        timeout_keep_alive=_KEEP_ALIVE_S,
    )
    if settings.tls_certificate is None and not is_loopback(settings.host):
        logger.warning(
            "passwords and images cross the network unencrypted; set CACLABEL_TLS_CERTIFICATE and"
            " CACLABEL_TLS_KEY, or put a proxy with TLS in front"
        )
    services: Services = application.state.services

    def begin_stop() -> None:
        services.stopping.set()
        for supervisor in supervisors:
            supervisor.ask_to_stop()

    take_signals()
    for supervisor in supervisors:
        supervisor.start()
    print(_greeting(settings), flush=True)
    try:
        PatientServer(config, on_stop=begin_stop).run(sockets=[listener])
    finally:
        for supervisor in supervisors:
            supervisor.stop()


def _listen(settings: Settings) -> socket.socket:
    """Take the port.

    Raises:
        ConflictError: If another program has it, or the address is not of this machine.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise ConflictError(
            f"cannot listen on {settings.host} port {settings.port}: {error.strerror};"
            " choose another with --host and --port"
        ) from None
    return listener


def _greeting(settings: Settings) -> str:
    # People cannot connect to "every address"; they can to the name of this machine.
    host = socket.gethostname() if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104
    place = f"[{host}]" if ":" in host else host
    scheme = "http" if settings.tls_certificate is None else "https"
    studies: object = settings.studies_folder or "no studies folder, uploads only"
    if settings.pacs_url is not None:
        studies = f"the series of {public_url(settings.pacs_url)}"
    return "\n".join(
        (
            f"caclabel {version('caclabel')} serves {studies}",
            f"server address for 3D Slicer, OHIF and scripts: {scheme}://{place}:{settings.port}/",
            f"log: {logs.log_file(settings)}; research use only; stop with Ctrl-C",
        )
    )
