"""One process a worker name on a data folder."""

from pathlib import Path

from app.store.lock import hold


class WorkerLock:
    """Holds a worker's name for this process; the kernel frees it however the process ends."""

    def __init__(self, folder: Path, worker_id: str) -> None:
        """Take the name.

        Raises:
            ConflictError: If another process holds it.
        """
        self._file = hold(
            folder / f"{worker_id}.lock",
            f"a worker named {worker_id!r} runs already; give this one another --worker-id",
        )

    def __enter__(self) -> None:
        """Keep the name."""

    def __exit__(self, *_: object) -> None:
        """Give the name back."""
        self._file.close()
