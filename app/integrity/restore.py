"""A backup put into a new data folder, every file compared with the hash it had."""

import re
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from app.errors import ConflictError, InvalidInputError, NotFoundError
from app.integrity.backup import DATABASE, FORMAT, MANIFEST, Manifest, check_embedded, claim_folder
from app.integrity.check import check_folder
from app.integrity.findings import Report, Told
from app.settings import Settings
from app.store.files import copy_durably

_PATH: Final = re.compile(
    rf"{re.escape(DATABASE)}|files/[0-9a-f]{{2}}/[0-9a-f]{{64}}(\.[a-z]+){{1,2}}"
    r"|models/[0-9A-Za-z-]+\.(safetensors|json)"
)
"""Files that a backup may have; nothing else is written anywhere."""


def restore(source: Path, settings: Settings, told: Told = lambda _: None) -> Report:
    """Put a backup into an empty data folder and check it.

    The database comes last: a folder in which a restore broke off is never taken for a whole one.

    Args:
        source: Folder of the backup.
        settings: Settings of the deployment with the new data folder.
        told: Is told how far it is.

    Returns:
        What the check of the new folder found.

    Raises:
        NotFoundError: If there is no finished backup.
        InvalidInputError: If it is none of this layout, or the database is not an embedded one.
        ConflictError: If the data folder holds anything, or a file of the backup is damaged.
    """
    check_embedded(settings)
    manifest = read_manifest(source)
    claim_folder(settings.data)
    files = [path for path in manifest.files if path != DATABASE]
    for number, path in enumerate([*files, DATABASE], start=1):
        told(f"{number} of {len(manifest.files)} files")
        _copy(source, settings.data, path, manifest.files[path])
    return check_folder(settings, told)


def read_manifest(folder: Path) -> Manifest:
    """Read what a backup holds.

    Raises:
        NotFoundError: If the folder has no manifest, as after a backup that broke off.
        InvalidInputError: If it cannot be one.
    """
    try:
        content = (folder / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise NotFoundError(
            f"{folder} is no finished backup: it has no {MANIFEST}; take another one"
        ) from None
    try:
        manifest = TypeAdapter(Manifest).validate_json(content)
    except ValidationError:
        raise InvalidInputError(f"expected a {MANIFEST} of format {FORMAT}") from None
    if manifest.format != FORMAT:
        raise InvalidInputError(f"expected a backup of format {FORMAT}, got {manifest.format!r}")
    if DATABASE not in manifest.files or not all(map(_PATH.fullmatch, manifest.files)):
        raise InvalidInputError(f"{MANIFEST} of the backup names files that no backup has")
    return manifest


def _copy(source: Path, target: Path, path: str, sha256: str) -> None:
    try:
        found = copy_durably(source / path, target / path)
    except FileNotFoundError:
        found = ""
    if found != sha256:
        (target / path).unlink(missing_ok=True)
        what = "is damaged" if found else "is gone"
        raise ConflictError(
            f"{path} of the backup {what}; the restore broke off, empty {target} and use another"
            " backup"
        )
