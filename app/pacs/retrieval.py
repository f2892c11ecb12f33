"""Series of the DICOMweb server on our disk, as far as there is room for them.

Concurrency: any thread of any process. A series is retrieved into a hidden folder and
renamed when it is whole; a file lock makes a second process wait for the first instead of
retrieving the same series again. The locks are few and shared by series, so that they never
become many files; nothing else is waited for while one is held but the server.
"""

import fcntl
import secrets
import shutil
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from app.errors import CacheError, PacsDownError, PacsRefusedError
from app.imaging.dicom.dicomweb import DicomwebServer, dicomweb_server
from app.imaging.dicom.dicomweb_answers import check_uid
from app.settings import Settings
from app.store.cache import keep_within, mark_used, remove
from app.store.tables import ImageRow

SOURCE: Final = "dicomweb"
"""Source of the images that come from a DICOMweb server."""

_LOCKS: Final = 64
"""Lock files of all series together."""

_BYTES_PER_GB: Final = 1_000_000_000
"""As disks are sold."""


def local_files(settings: Settings, row: ImageRow) -> tuple[Path, ...]:
    """Return the DICOM files of an image, retrieved when they are not in the cache.

    Args:
        settings: Settings of the deployment.
        row: Image of source ``dicomweb``.

    Raises:
        PacsDownError: If they have to be retrieved and the server cannot be reached.
        PacsRefusedError: If the server does not give them.
        SettingsError: If the settings name no DICOMweb server any more.
    """
    study_uid, _, series_uid = row.path.partition("/")
    folder = series_folder(settings, series_uid)
    files = cached_files(settings, series_uid)
    if files:
        return files
    server = dicomweb_server(settings)
    try:
        # The place before the lock: who waits for somebody who waits for the server does so too.
        with server.place(), _one_at_a_time(settings, series_uid):
            if not mark_used(folder):
                _retrieve(server, study_uid, series_uid, folder)
            # Listed under the lock: nobody takes the series away meanwhile.
            files = _listed(folder)
            if not files:
                remove(folder)
                raise PacsRefusedError(f"the DICOMweb server has no instances of image {row.id}")
    except CacheError:
        raise
    except PacsDownError as error:
        raise PacsDownError(f"{error}, and image {row.id} is not in the cache") from None
    keep_room(settings)
    return files


def cached_files(settings: Settings, series_uid: str) -> tuple[Path, ...]:
    """Return the files of a series as far as the cache has it: all of them or none."""
    folder = series_folder(settings, series_uid)
    return _listed(folder) if mark_used(folder) else ()


def cached_instances(settings: Settings, series_uid: str) -> set[str]:
    """Return the SOPInstanceUIDs that the cache has of a series, without using it."""
    return {path.stem for path in _listed(series_folder(settings, series_uid))}


def fetch(
    settings: Settings,
    server: DicomwebServer,
    study_uid: str,
    series_uid: str,
    *,
    anew: bool = False,
) -> Path:
    """Bring a series into the cache and return its folder; what is over the limit goes.

    Args:
        settings: Settings of the deployment.
        server: Server that has the series.
        study_uid: StudyInstanceUID.
        series_uid: SeriesInstanceUID.
        anew: Whether to retrieve it although it is there.
    """
    target = series_folder(settings, series_uid)
    with _one_at_a_time(settings, series_uid):
        if anew or not mark_used(target):
            _retrieve(server, study_uid, series_uid, target)
    keep_room(settings)
    return target


def discard(settings: Settings, series_uid: str) -> None:
    """Take a series out of the cache, because it is damaged or not what was expected."""
    with _one_at_a_time(settings, series_uid):
        remove(series_folder(settings, series_uid))


def series_folder(settings: Settings, series_uid: str) -> Path:
    """Return where a series lies when it is in the cache."""
    return settings.cache / SOURCE / check_uid(series_uid)


def keep_room(settings: Settings) -> int:
    """Bring the cache below its limit; returns the bytes it holds.

    What was made of the series counts as well: their arrays and the files clients download.
    """
    folders = [settings.cache / name for name in (SOURCE, "arrays", "images")]
    return keep_within(folders, int(settings.pacs_cache_gb * _BYTES_PER_GB), now=time.time())


def _listed(folder: Path) -> tuple[Path, ...]:
    """List a series; nothing when it was replaced meanwhile, as that empties the old folder."""
    try:
        before = folder.stat().st_ino
        files = tuple(sorted(folder.glob("*.dcm")))
        return files if folder.stat().st_ino == before else ()
    except FileNotFoundError:
        return ()


def _retrieve(server: DicomwebServer, study_uid: str, series_uid: str, target: Path) -> None:
    temporary = target.with_name(f".{secrets.token_hex(8)}.part")
    temporary.mkdir(parents=True)
    try:
        server.retrieve(study_uid, series_uid, temporary)
        remove(target)
        temporary.rename(target)
    except OSError as error:
        raise CacheError(f"a series cannot be written to the cache: {error.strerror}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _one_at_a_time(settings: Settings, series_uid: str) -> Iterator[None]:
    folder = settings.cache / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    number = zlib.crc32(series_uid.encode()) % _LOCKS
    with (folder / f"{number}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
