"""Arenas of glibc's allocator, counted in a process of its own."""

import subprocess
import sys

import pytest

COUNT = """
import ctypes, re, sys, threading
from server.allocator import bound_arenas

if sys.argv[1] == "bound":
    assert bound_arenas()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
barrier = threading.Barrier(8)

def allocate():
    libc.malloc(1000)
    barrier.wait()

threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc.malloc_stats()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_threads_share_two_arenas() -> None:
    def arenas(how: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", COUNT, how], capture_output=True, text=True, check=True
        )
        return done.stderr.count("Arena ")

    assert arenas("free") > 2
    assert arenas("bound") == 2
