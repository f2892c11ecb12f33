"""What files said when they were read, so that another look opens only new and changed ones.

Concurrency: may be called from any thread; a look through a folder replaces all that is known
at its end, so that two at once cost reading twice and nothing else.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, Generic, NamedTuple, TypeVar

_SETTLED_S: Final = 3.0
"""Files changed less than this before they were read are not remembered: another change could
leave the same time. FAT tells times to two seconds, all others more finely."""

Found = TypeVar("Found")
"""What was found in a file."""


class _Stamp(NamedTuple):
    """Differs after any change of a file, one that put the old time back included."""

    size: int
    modified_ns: int
    changed_ns: int
    inode: int


class KnownFiles(Generic[Found]):
    """Remembers what was found in each file of a folder while the file is as it was."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """Start with nothing known.

        Args:
            clock: Seconds since the epoch, by the clock that stamps files.
        """
        self._clock = clock
        self._known: dict[Path, tuple[_Stamp, Found]] = {}

    def look_through(
        self, paths: Iterable[Path], look: Callable[[Path], tuple[Found, bool]]
    ) -> Iterator[Found]:
        """Yield what is in each file; only those that are new or changed are looked into.

        Afterwards the files of ``paths`` are known and no others.

        Args:
            paths: Every file of the folder, each once.
            look: Looks into a file; returns what is in it, and whether that is so for as long as
                the file does not change.
        """
        kept: dict[Path, tuple[_Stamp, Found]] = {}
        for path in paths:
            # Before it is read: a change meanwhile leaves another stamp than this one.
            read_at, stamp = self._clock(), _stamp(path)
            known = self._known.get(path)
            if stamp is not None and known is not None and known[0] == stamp:
                kept[path] = known
                yield known[1]
                continue
            found, is_lasting = look(path)
            if stamp is not None and is_lasting and _is_settled(stamp, read_at):
                kept[path] = stamp, found
            yield found
        self._known = kept


def _stamp(path: Path) -> _Stamp | None:
    """Return the stamp of a file, or of what a link leads to; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return _Stamp(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def _is_settled(stamp: _Stamp, read_at: float) -> bool:
    return read_at - max(stamp.modified_ns, stamp.changed_ns) / 1e9 >= _SETTLED_S
