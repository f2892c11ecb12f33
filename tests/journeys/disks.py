"""Disks that are small or read only; only root can make them."""

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_CHUNK = bytes(1 << 20)


def mount(*arguments: str | Path) -> None:
    """Mount something; skips the test where this may not be done."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a disk")
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")


def unmount(folder: Path) -> None:
    """Take a disk away, also while something on it is open."""
    subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """Yield a folder that is a disk of its own."""
    folder.mkdir()
    mount("-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder)
    try:
        yield folder
    finally:
        unmount(folder)


@contextmanager
def full(folder: Path) -> Iterator[None]:
    """Leave no room on the disk of a folder until the block ends."""
    path = folder / "filler"
    try:
        with path.open("wb", buffering=0) as file:
            _fill(file.fileno())
        yield
    finally:
        path.unlink()


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Let nothing be written below a folder until the block ends."""
    mount("--bind", folder, folder)
    try:
        mount("-o", "remount,bind,ro", folder)
        yield
    finally:
        unmount(folder)


def _fill(descriptor: int) -> None:
    chunk = _CHUNK
    while chunk:
        try:
            os.write(descriptor, chunk)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            chunk = chunk[: len(chunk) // 2]
