"""A huge image that streams in while others ask: what it costs them, the memory and the disk."""

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import nibabel
import numpy as np

from tests.load.site import ADMIN, Site, repeated
from tests.load.watching import glance

_SIDE: Final = 1024
"""Voxels along x and y; 1024 x 1024 of float32 are 4 MiB, the size of one slice."""

SLICE_BYTES: Final = 4 * _SIDE * _SIDE

_BEAT_S: Final = 0.05

_BOUNDARY: Final = "a-boundary-that-is-in-no-image"

_TIMEOUT_S: Final = 600.0

_SAMPLE_S: Final = 0.5

_BLOCK_BYTES: Final = 512
"""In which `stat` counts, whatever the disk does."""


@dataclass
class Beat:
    """``/info/``, asked again and again at a steady beat.

    Attributes:
        seconds: From when a request was sent until it was answered.
        waited: From when it was due: one that cannot be sent because the last one is not
            answered yet counts from its own time.
        errors: Statuses other than 200.
    """

    seconds: list[float] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)
    errors: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Upload:
    """An upload that was watched.

    Attributes:
        status: Its answer.
        text: The answer in words.
        sent_s: Until all of it was sent.
        answered_s: From then on until the answer.
        before: The beat without it.
        meanwhile: The beat from its first byte to its answer.
        memory_mib: Memory of the web process before, at most, and after it.
        disk_mib: Size of the data folder before, at most, and after it.
        left_over: Files that are still being received, though nobody sends.
    """

    status: int
    text: str
    sent_s: float
    answered_s: float
    before: Beat
    meanwhile: Beat
    memory_mib: tuple[float, float, float]
    disk_mib: tuple[float, float, float]
    left_over: list[str]


def upload(site: Site, slices: int, *, quiet_s: float) -> Upload:
    """Ask at a steady beat for a while, then go on while an image of so many slices comes in."""
    with beating(site) as before:
        _pause(quiet_s)
    measures = _Measures(site)
    first = measures.take()
    with measures.taken_again_and_again(), beating(site) as meanwhile:
        status, text, sent_s, answered_s = _send(site, slices)
    last = measures.take()
    incoming = site.settings.data / "incoming"
    return Upload(
        status,
        text,
        sent_s,
        answered_s,
        before,
        meanwhile,
        (first[0], max(memory for memory, _ in measures.all), last[0]),
        (first[1], max(disk for _, disk in measures.all), last[1]),
        [path.name for path in incoming.iterdir()],
    )


@contextmanager
def beating(site: Site) -> Iterator[Beat]:
    """Ask for ``/info/`` at a steady beat until the block ends."""
    beat, ended = Beat(), threading.Event()
    thread = threading.Thread(target=_ask_on, args=(site, beat, ended))
    thread.start()
    try:
        yield beat
    finally:
        ended.set()
        thread.join()


def _ask_on(site: Site, beat: Beat, ended: threading.Event) -> None:
    connection, headers = _connection(site), site.admin()
    due = time.monotonic()
    while not ended.wait(max(0.0, due - time.monotonic())):
        sent = time.monotonic()
        connection.request("GET", "/info/", headers=headers)
        answer = connection.getresponse()
        answer.read()
        beat.seconds.append(time.monotonic() - sent)
        beat.waited.append(time.monotonic() - due)
        if answer.status != http.client.OK:
            beat.errors.append(answer.status)
        due += _BEAT_S
    connection.close()


def _send(site: Site, slices: int) -> tuple[int, str, float, float]:
    """Send an image, slice after slice, and wait for the answer."""
    header, voxels = _image(slices)
    head = (
        f"--{_BOUNDARY}\r\n"
        'Content-Disposition: form-data; name="file"; filename="huge.nii"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode() + header
    tail = f"\r\n--{_BOUNDARY}--\r\n".encode()
    connection = _connection(site)
    connection.putrequest("PUT", "/datastore/image?image=huge")
    connection.putheader("Authorization", f"Bearer {site.keys[ADMIN]}")
    connection.putheader("Content-Type", f"multipart/form-data; boundary={_BOUNDARY}")
    connection.putheader("Content-Length", str(len(head) + slices * len(voxels) + len(tail)))
    began = time.monotonic()
    connection.endheaders(head)
    for _ in range(slices):
        connection.send(voxels)
    connection.send(tail)
    sent = time.monotonic()
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text, sent - began, time.monotonic() - sent


def _image(slices: int) -> tuple[bytes, bytes]:
    """Return the header of a NIfTI file, and the voxels of each slice: noise around water."""
    affine = np.diag([-0.4, -0.4, 0.5, 1.0])
    image = nibabel.Nifti1Image(np.broadcast_to(np.float32(0), (_SIDE, _SIDE, slices)), affine)
    image.set_sform(affine, code="scanner")
    image.set_qform(affine, code="scanner")
    image.header["magic"] = b"n+1"
    image.header["vox_offset"] = 352
    voxels = np.random.default_rng(slices).normal(-100, 200, _SIDE * _SIDE)
    return image.header.binaryblock + bytes(4), voxels.astype("<f4").tobytes()


@dataclass
class _Measures:
    """Memory of the web process and size of its data folder, in MiB."""

    site: Site
    all: list[tuple[float, float]] = field(default_factory=list)

    def take(self) -> tuple[float, float]:
        """Measure both once."""
        process = self.site.server.process.pid
        used = _used(self.site.settings.data) + _nameless(process)
        self.all.append((glance(process).memory_mib, used / 2**20))
        return self.all[-1]

    @contextmanager
    def taken_again_and_again(self) -> Iterator[None]:
        """Measure in a thread until the block ends."""
        with repeated(self.take, _SAMPLE_S):
            yield


def _used(folder: Path) -> int:
    """Return the bytes that the files of a folder take on the disk."""
    used = 0
    for path in folder.rglob("*"):
        # Others move and remove files meanwhile.
        with suppress(FileNotFoundError):
            used += path.stat().st_blocks * _BLOCK_BYTES
    return used


def _nameless(process: int) -> int:
    """Return the bytes of the files that a process holds open and that have no name any more."""
    used = 0
    for path in Path(f"/proc/{process}/fd").iterdir():
        with suppress(FileNotFoundError):
            if str(path.readlink()).endswith(" (deleted)"):
                used += path.stat().st_blocks * _BLOCK_BYTES
    return used


def _connection(site: Site) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(site.server.url).netloc, timeout=_TIMEOUT_S)


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)
