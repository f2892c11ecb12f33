"""A server and its worker, killed at random moments while labels and images come in.

Run as a module for a long soak: ``python -m tests.journeys.soak --rounds 200``.
"""

import argparse
import hashlib
import os
import random
import signal
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import requests

from app.integrity.check import check_folder
from app.settings import Settings
from tests.journeys.pool import write_image, write_label, write_pool
from tests.journeys.serving import RunningServer, started, wait_until

_CLIENTS: Final = 3
_CONTENTS: Final = 8
_LONGEST_DELAY_S: Final = 2.0
_FIRST_IMAGES: Final = 2
_TIMEOUT_S: Final = 300.0

_SETTINGS: Final = {"upload_rate": 0, "scan_seconds": 0.5, "validation_percent": 0}


@dataclass
class Acknowledged:
    """What clients were told is kept: the hash of each label by its annotator.

    Concurrency: clients add, the test reads; one operation of a dictionary at a time.
    """

    labels: dict[str, str] = field(default_factory=dict)


def play(
    folder: Path, victims: Sequence[str], rng: random.Random, *, tell: bool = False
) -> Settings:
    """Kill each victim in turn, ``web`` or ``worker``, and check everything after each kill.

    Args:
        folder: Empty folder for the pool and the data folder.
        victims: Who is killed.
        rng: Decides the moments.
        tell: Whether to write a line for each round.

    Returns:
        Settings of the data folder, whose server has ended.
    """
    studies = write_pool(folder / "studies", _FIRST_IMAGES)
    contents = [
        write_label(folder / f"label_{seed}.nrrd", seed).read_bytes() for seed in range(_CONTENTS)
    ]
    kept, settings = Acknowledged(), Settings(studies=studies, data=folder / "data")
    left, names = list(victims), iter(range(1_000_000_000))
    while left:
        with started(studies, settings.data, **_SETTINGS) as server:
            wait_until(lambda: server.images() >= _FIRST_IMAGES, server, _TIMEOUT_S)
            with annotating(server, contents, kept, names):
                while left and server.process.poll() is None:
                    _one_kill(server, left.pop(0), kept, rng)
        check(settings, kept)
        if tell:
            done = len(victims) - len(left)
            _say(f"{done} of {len(victims)} kills, {len(kept.labels)} labels kept")
    with started(studies, settings.data, **_SETTINGS) as server:
        count = len(list(studies.glob("*.nii.gz")))
        wait_until(lambda: server.images() == count, server, _TIMEOUT_S)
        wait_until(lambda: not _open_jobs(settings.data), server, _TIMEOUT_S)
    check(settings, kept)
    return settings


def check(settings: Settings, kept: Acknowledged) -> None:
    """Check the whole folder, and that every acknowledged label is there byte by byte."""
    report = check_folder(settings)
    assert report.is_sound, [finding.line for finding in report.findings]
    with closing(sqlite3.connect(settings.data / "caclabel.sqlite")) as connection:
        rows = connection.execute("SELECT annotator, submitted_sha256 FROM labels").fetchall()
    # Every annotator submits once: a label that is there twice was taken twice.
    assert len(rows) == len(dict(rows))
    stored = dict(rows)
    lost = {name: sha256 for name, sha256 in kept.labels.items() if stored.get(name) != sha256}
    assert not lost


@contextmanager
def annotating(
    server: RunningServer, contents: list[bytes], kept: Acknowledged, names: Iterator[int]
) -> Iterator[None]:
    """Let clients submit labels until the block ends, whatever becomes of the server."""
    stop = threading.Event()
    threads = [
        threading.Thread(target=_annotate, args=(server, contents, kept, names, stop))
        for _ in range(_CLIENTS)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _annotate(
    server: RunningServer,
    contents: list[bytes],
    kept: Acknowledged,
    names: Iterator[int],
    stop: threading.Event,
) -> None:
    while not stop.is_set():
        number = next(names)
        name, content = f"annotator-{number}", contents[number % len(contents)]
        url = f"/datastore/label?image=case_{number % _FIRST_IMAGES}"
        try:
            answer = server.request(
                "PUT",
                url,
                files={"label": ("label.nrrd", content)},
                data={"params": f'{{"client_id": "{name}"}}'},
            )
        except requests.RequestException:
            # Killed: what was not acknowledged may be there or not.
            stop.wait(0.05)
            continue
        if answer.status_code == requests.codes.ok:
            kept.labels[name] = hashlib.sha256(content).hexdigest()


def _one_kill(server: RunningServer, victim: str, kept: Acknowledged, rng: random.Random) -> None:
    """Let an image arrive and labels be taken, then kill at a moment that nobody knows."""
    number = len(list(Path(server.studies).glob("*.nii.gz")))
    write_image(Path(server.studies, f"case_{number}.nii.gz"), number)
    before = len(kept.labels)
    wait_until(lambda: len(kept.labels) > before, server, _TIMEOUT_S)
    threading.Event().wait(rng.uniform(0.0, _LONGEST_DELAY_S))
    if victim == "web":
        server.process.kill()
        server.process.wait()
        return
    for process in worker_processes(server):
        os.kill(process, signal.SIGKILL)


def worker_processes(server: RunningServer) -> list[int]:
    """Return the process ids of the server's children, at the moment none or one."""
    children = Path(f"/proc/{server.process.pid}/task").glob("*/children")
    return [int(text) for path in children for text in path.read_text().split()]


def _open_jobs(data: Path) -> int:
    with closing(sqlite3.connect(data / "caclabel.sqlite")) as connection:
        wanted = "SELECT count(*) FROM jobs WHERE status IN ('queued', 'running')"
        (count,) = connection.execute(wanted).fetchone()
        return int(count)


def main() -> int:
    """Run the soak and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=20220811)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    victims = [rng.choice(["web", "web", "worker"]) for _ in range(arguments.rounds)]
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        settings = play(Path(folder), victims, rng, tell=True)
        report = check_folder(settings)
    minutes = (time.monotonic() - began) / 60
    _say(f"{arguments.rounds} kills in {minutes:.1f} min: {report.counts}, nothing lost")
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
