"""A real PostgreSQL of its own: a fresh cluster in a temporary folder, on loopback only."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_BINARIES = Path("/usr/lib/postgresql")
"""Where Debian puts the programs, by version; other systems have them on the path."""

_OWNER = "postgres"
"""Debian's user of the service; the server refuses to run as root."""


def postgresql_programs() -> Path | None:
    """Return the folder of initdb and pg_ctl, None where PostgreSQL is not installed."""
    installed = [path.parent for path in sorted(_BINARIES.glob("*/bin/initdb"))]
    found = shutil.which("initdb")
    return installed[-1] if installed else Path(found).parent if found else None


@contextmanager
def postgresql() -> Iterator[str]:
    """Run a server until the block ends; yields a URL that ends where a database's name goes."""
    programs = postgresql_programs()
    assert programs is not None
    # Below /tmp itself: the service's user may not enter the folders of tests.
    with tempfile.TemporaryDirectory(prefix="caclabel-postgresql-") as folder:
        cluster = Path(folder, "cluster")
        if os.geteuid() == 0:
            owner = pwd.getpwnam(_OWNER)
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        _run(programs / "initdb", "-D", cluster, "-U", "test", "-A", "trust", "--no-sync")
        port = _free_port()
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
        control = (programs / "pg_ctl", "-D", cluster, "-w")
        _run(*control, "-o", options, "-l", Path(folder, "log"), "start")
        try:
            for name in ("caclabel", "jobs"):
                _run(programs / "createdb", "-h", "127.0.0.1", "-p", port, "-U", "test", name)
            yield f"postgresql+psycopg://test@127.0.0.1:{port}"
        finally:
            _run(*control, "-m", "immediate", "stop")


def _run(*command: object) -> None:
    words = [str(word) for word in command]
    prefix = ["setpriv", f"--reuid={_OWNER}", f"--regid={_OWNER}", "--clear-groups"]
    if os.geteuid() != 0:
        prefix = []
    subprocess.run([*prefix, *words], check=True, stdout=subprocess.DEVNULL, cwd="/")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
