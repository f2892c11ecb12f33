"""Measuring what a refusal costs."""

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

_MEGABYTE = 1 << 20


@contextmanager
def at_most(megabytes: int) -> Iterator[None]:
    """Fail if the block holds more memory than this at any moment."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= megabytes * _MEGABYTE, f"{peak / _MEGABYTE:.0f} MB were held"
