"""One process a worker name on a data folder."""

import fcntl
from pathlib import Path

from app.errors import ConflictError


class WorkerLock:
    """Holds a worker's name for this process; the kernel frees it however the process ends."""

    def __init__(self, folder: Path, worker_id: str) -> None:
        """Take the name.

        Raises:
            ConflictError: If another process holds it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / f"{worker_id}.lock").open("w")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise ConflictError(
                f"a worker named {worker_id!r} runs already; give this one another --worker-id"
            ) from None

    def __enter__(self) -> None:
        """Keep the name."""

    def __exit__(self, *_: object) -> None:
        """Give the name back."""
        self._file.close()
