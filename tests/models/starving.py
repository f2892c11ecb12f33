"""Less memory for this process, really: the kernel refuses what goes beyond a limit."""

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_MEBIBYTE = 1 << 20

ENVIRONMENT = {
    **os.environ,
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_ARENA_MAX": "1",
    "OMP_NUM_THREADS": "1",
}
"""Large blocks are given back to the kernel at once, so that its figures are the allocator's, and
a new thread takes no address space but its stack."""


def size() -> int:
    """Return the bytes of address space that this process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def need(act: Callable[[], object]) -> int:
    """Return the most bytes more than now that something takes, measured in a copy of us."""
    reader, writer = os.pipe()
    before = size()
    child = os.fork()
    if child == 0:
        act()
        status = Path("/proc/self/status").read_text().splitlines()
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmPeak"))
        os.write(writer, str(peak * 1024 - before).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as answer:
        return max(int(answer.read()), _MEBIBYTE)


@contextmanager
def at_most(more: float) -> Iterator[None]:
    """Let this process take so many bytes more than it has, and no more, in the block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size() + int(more), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
