"""``caclabel health``: asks the server or looks for the worker with these settings.

For containers, which have no other program to ask with. The server is asked as its settings
say it listens, so that it and this command must be given the same ones.
"""

import argparse
import http.client
import ssl
import time
from typing import Final

from app.settings import Settings
from server.command_settings import add_data_arguments, settings_of

DESCRIPTION: Final = "ask the server, or look for the worker, of this machine whether it is well"

_EXIT_UNWELL: Final = 1

_TIMEOUT_S: Final = 5.0

_EVERY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where to ask, not listen
"""A server that listens everywhere is asked on the machine's own address."""

_OK: Final = 200


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare who is asked for what."""
    add_data_arguments(parser)
    parser.add_argument("--host", help="address the server listens on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port it listens on (default: 8000)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--ready", action="store_true", help="ask whether labels can be stored, not only for a sign"
    )
    what.add_argument(
        "--worker", action="store_true", help="look for the worker's sign of life instead"
    )
    parser.add_argument("--worker-id", help="name of the worker (default: worker-0)")


def run(arguments: argparse.Namespace) -> int:
    """Ask and print the answer; 1 where it is not well."""
    settings = settings_of(arguments)
    if arguments.worker:
        is_well, found = _look_for_worker(settings)
    else:
        is_well, found = _ask_server(settings, "ready" if arguments.ready else "live")
    print(found)
    return 0 if is_well else _EXIT_UNWELL


def _ask_server(settings: Settings, what: str) -> tuple[bool, str]:
    """Return whether the server answers as it does when it is well, and what it said."""
    connection = _connection(settings)
    try:
        connection.request("GET", f"/health/{what}")
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return False, f"no answer from {connection.host} port {connection.port}: {error}"
    finally:
        connection.close()
    return answer.status == _OK, f"{answer.status} {text}"


def _connection(settings: Settings) -> http.client.HTTPConnection:
    host = _EVERY_ADDRESS.get(settings.host, settings.host)
    if settings.tls_certificate is None:
        return http.client.HTTPConnection(host, settings.port, timeout=_TIMEOUT_S)
    context = ssl.create_default_context()
    # The certificate is made out to the name that others use; nothing secret is sent or believed.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(host, settings.port, timeout=_TIMEOUT_S, context=context)


def _look_for_worker(settings: Settings) -> tuple[bool, str]:
    """Return whether the worker gave a sign of life of late, and a sentence about it."""
    # Importing them takes a second, which asking a server each half minute need not cost.
    from app.background.presence import known_workers
    from app.integrity.opening import check_revision, looking

    name = settings.worker_id
    with looking(settings) as session:
        check_revision(session)
        workers = {worker.id: worker for worker in known_workers(session, now=time.time())}
    if name not in workers:
        return False, f"no worker {name!r} ever gave a sign of life here"
    word = "alive" if workers[name].is_alive else "silent for too long"
    return workers[name].is_alive, f"worker {name!r} is {word}"
