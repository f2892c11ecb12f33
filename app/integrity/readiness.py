"""What a server needs to do its work, looked at before it starts and while it runs."""

import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from sqlalchemy.orm import Session

from app.background.presence import WorkerPresence
from app.errors import SettingsError
from app.integrity.damage import damaged_count
from app.pacs.status import PacsStatus
from app.settings import Settings
from app.store.files import make_private
from app.store.lock import hold

_MEGABYTE: Final = 1 << 20

LOW_MB: Final = 2048
"""With no more room than this above the reserve, somebody should look after the disk soon."""


@dataclass(frozen=True)
class Readiness:
    """Whether a server can take labels, and what is missing for everything else.

    Attributes:
        is_ready: Whether labels and images can be stored.
        missing: What is wrong, each in a sentence; nobody's name is in it.
        free_bytes: Room on the disk of the data folder.
        damaged_files: Stored files that are not given out, because they are damaged.
    """

    is_ready: bool
    missing: tuple[str, ...]
    free_bytes: int
    damaged_files: int


@contextmanager
def one_server(settings: Settings) -> Iterator[None]:
    """Hold the data folder for the one server that may run on it, until the block ends.

    Raises:
        ConflictError: If another server runs on it.
        SettingsError: If it cannot be written.
    """
    check_writable(settings)
    refusal = f"another server runs on the data folder {settings.data}; stop it, or choose another"
    with hold(settings.data / "server.lock", f"{refusal} with --data"):
        yield


def check_writable(settings: Settings) -> None:
    """Refuse a data folder in which no label could be kept.

    Raises:
        SettingsError: With what is wrong.
    """
    probe = settings.data / f".{secrets.token_hex(8)}.tmp"
    try:
        make_private(settings.data)
        probe.write_bytes(b"\0")
        probe.unlink()
    except OSError as error:
        raise SettingsError(
            f"the data folder {settings.data} cannot be written ({error.strerror}); look at its"
            " rights and its disk, or choose another with --data"
        ) from None


def readiness(
    session: Session,
    settings: Settings,
    workers: Sequence[WorkerPresence],
    pacs: PacsStatus | None,
) -> Readiness:
    """Tell how a running server is doing, without opening any file."""
    free = shutil.disk_usage(settings.data).free
    damaged = damaged_count(session)
    full, low = room_problems(free, reserve_mb=settings.disk_reserve_mb)
    faults = [*full, *_rights(settings)]
    lacks = [*_lacks(workers, pacs, damaged), *low]
    return Readiness(not faults, (*faults, *lacks), free, damaged)


def room_problems(free_bytes: int, *, reserve_mb: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what is wrong with the room on a disk: what stops uploads, and what only warns.

    Args:
        free_bytes: Room that is left.
        reserve_mb: Room that uploads leave free; less than a megabyte is never enough.
    """
    free_mb = free_bytes // _MEGABYTE
    if free_mb < max(reserve_mb, 1):
        return (f"the disk of the data folder is full: {free_mb} MB are free",), ()
    if free_mb < reserve_mb + LOW_MB:
        return (), (f"the disk of the data folder is almost full: {free_mb} MB are free",)
    return (), ()


def _rights(settings: Settings) -> Iterator[str]:
    places = [settings.data, settings.files, settings.data / "caclabel.sqlite"]
    # False on a disk that is mounted to be read only, also for root.
    if not all(os.access(place, os.W_OK) for place in places if place.exists()):
        yield "the data folder cannot be written"


def _lacks(
    workers: Sequence[WorkerPresence], pacs: PacsStatus | None, damaged: int
) -> Iterator[str]:
    if not any(worker.is_alive for worker in workers):
        yield "no worker is alive: nothing is predicted or trained"
    if pacs is not None and not pacs.is_reachable:
        yield f"the DICOMweb server did not answer when it was asked last: {pacs.problem}"
    if damaged:
        files = "1 stored file is" if damaged == 1 else f"{damaged} stored files are"
        yield f"{files} damaged or lost; /quarantine lists them"
