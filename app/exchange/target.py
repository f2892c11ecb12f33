"""The folder of an export: files are added and never overwritten."""

import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from app.errors import ConflictError, InvalidInputError
from app.settings import Settings
from app.store.files import file_sha256, write_durably

Added = Literal["written", "unchanged"]
"""Whether a file is new, or lay there with the same content."""


class Target:
    """A folder that files are added to."""

    def __init__(self, root: Path, settings: Settings, *, is_addition: bool = False) -> None:
        """Make the folder.

        Args:
            root: The folder.
            settings: Settings of the deployment, whose own folders are no target.
            is_addition: Whether it may hold files already.

        Raises:
            InvalidInputError: If it lies in the data folder or the studies folder.
            ConflictError: If it holds files and must not, or is a file itself.
        """
        for own in (settings.data, settings.studies_folder):
            if own is not None and root.resolve().is_relative_to(own.resolve()):
                raise InvalidInputError("expected a folder outside of the data and studies folder")
        if root.exists() and not root.is_dir():
            raise ConflictError(f"{root} is a file")
        if root.is_dir() and not is_addition and any(root.iterdir()):
            raise ConflictError(f"{root} is not empty; allow adding to it with --add")
        root.mkdir(parents=True, exist_ok=True)
        self.root = root

    def add(self, name: str, write: Callable[[Path], object]) -> Added:
        """Add a file.

        Args:
            name: Path in the folder.
            write: Writes the file at the path it is given, whose ending is that of ``name``.

        Raises:
            ConflictError: If there is a file of this name with other content.
        """
        target = self.root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        # The whole name, not its last suffix: writers choose the format by it.
        temporary = target.with_name(f".{secrets.token_hex(8)}-{target.name}")
        try:
            write(temporary)
            if not target.exists():
                temporary.replace(target)
                return "written"
            if file_sha256(temporary) != file_sha256(target):
                raise ConflictError(f"{name} exists with other content")
        finally:
            temporary.unlink(missing_ok=True)
        return "unchanged"

    def add_copy(self, name: str, source: Path) -> Added:
        """Add a copy of a file."""
        return self.add(name, lambda path: shutil.copyfile(source, path))

    def add_bytes(self, name: str, content: bytes) -> Added:
        """Add a file with this content."""
        return self.add(name, lambda path: path.write_bytes(content))

    def read(self, name: str) -> bytes | None:
        """Return the content of a file, None if there is none."""
        path = self.root / name
        return path.read_bytes() if path.exists() else None

    def replace(self, name: str, content: bytes) -> None:
        """Write the one file of an export that grows with it, its index."""
        write_durably(self.root / name, content)
