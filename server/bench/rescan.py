"""What a look at the studies folder costs when it is the first one, and when little is new."""

import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from app.imaging.dicom.writer import write_series
from app.imaging.known_files import KnownFiles
from app.imaging.scan import Header, find_images
from app.imaging.volume import Grid, Identifiers, Volume
from server.bench.figures import Figure, Section
from server.bench.scale import Scale

_SHAPE: Final = (50, 16, 16)
"""Slices, rows and columns of a series; only headers are read, so that small slices will do."""

_SERIES: Final = 100
"""Series of the folder."""

_QUICK_SERIES: Final = 2
"""Series where it is only to be seen that the measurement works."""

_OLD_S: Final = 3600.0
"""Age of all files by the clock that is used: what was just written is not remembered."""


def measure(scale: Scale) -> Section:
    """Look through a folder, then again with one series more."""
    count = _QUICK_SERIES if scale.is_quick else _SERIES
    slices = count * _SHAPE[0]
    scale.narrator.progress(f"writing {count} series")
    folder = scale.folder / "rescan"
    for number in range(count):
        _write(folder, number)
    known = _nothing_known()
    first_s = _processor_s(lambda: find_images(folder, known))
    again_s = _processor_s(lambda: find_images(folder, known))
    _write(folder, count)
    grown_s = _processor_s(lambda: find_images(folder, known))
    per_slice = f"{first_s / slices * 1e3:.2f} ms a slice"
    return Section(
        "rescan",
        "Looking through the studies folder",
        f"{count} DICOM series of {_SHAPE[0]} slices in one process; the time is the processor's.",
        (
            Figure("every header is new", first_s, "s", per_slice),
            Figure("nothing is new", again_s, "s", f"{again_s / slices * 1e3:.3f} ms a slice"),
            Figure("one series more", grown_s, "s", f"{_SHAPE[0]} slices are new"),
            Figure("memory of what is known", _bytes_known(folder) / slices, "bytes", "a slice"),
        ),
    )


def _write(folder: Path, number: int) -> None:
    hu = np.full(_SHAPE, number, np.int16)
    volume = Volume(
        hu, Grid(_SHAPE, np.diag([0.7, 0.7, 3.0, 1.0])), 120.0, Identifiers(str(number))
    )
    write_series(folder / f"patient_{number:05d}" / "calcium", volume)


def _nothing_known() -> KnownFiles[Header]:
    return KnownFiles(lambda: time.time() + _OLD_S)


def _processor_s(call: Callable[[], object]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def _bytes_known(folder: Path) -> int:
    known = _nothing_known()
    tracemalloc.start()
    try:
        find_images(folder, known)
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
