"""What a data folder must hold after a load: every label, no lease twice, nothing left over."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from app.integrity.check import check_folder
from app.settings import Settings
from tests.load.records import Records

_CLOCKS_S = 60.0
"""A request that waits takes the time when it came: rows of one image may touch so far."""


@dataclass(frozen=True)
class Verdict:
    """What was found.

    Attributes:
        lost: Acknowledged labels that are not there as they were sent.
        double: Images that somebody got while they were with somebody else.
        left_over: Files and rows that nobody needs any more.
        damage: What ``caclabel check`` says.
        labels: Labels that are there.
    """

    lost: list[str]
    double: list[str]
    left_over: list[str]
    damage: list[str]
    labels: int

    @property
    def is_good(self) -> bool:
        """Whether all is as it must be."""
        return not (self.lost or self.double or self.left_over or self.damage)


def judge(settings: Settings, records: Records) -> Verdict:
    """Look through the data folder of a server that has ended."""
    report = check_folder(settings)
    with closing(sqlite3.connect(settings.data / "caclabel.sqlite")) as database:
        wanted = "SELECT image_id, annotator, submitted_sha256 FROM labels WHERE tag = 'final'"
        rows = database.execute(wanted).fetchall()
        double = list(_doubly_leased(database))
    stored = {(image, annotator): sha256 for image, annotator, sha256 in rows}
    lost = [name for name, sha256 in records.kept.items() if stored.get(name) != sha256]
    twice = [image for image, count in _counted(image for image, _, _ in rows) if count > 1]
    return Verdict(
        [f"{image} by {annotator}" for image, annotator in lost],
        double + [f"{image} was labeled twice" for image in twice],
        list(_left_over(settings)),
        [finding.line for finding in report.findings],
        len(rows),
    )


def _doubly_leased(database: sqlite3.Connection) -> Iterator[str]:
    """Yield the images whose next lease was given before the last one had ended."""
    wanted = "SELECT image_id, client_id, served_at, released_at FROM leases ORDER BY image_id, id"
    last = ("", "", 0.0, 0.0)
    for row in database.execute(wanted):
        if row[0] == last[0] and (last[3] is None or row[2] + _CLOCKS_S < last[3]):
            yield f"{row[0]} lay with {last[1]} and {row[1]}"
        last = row


def _counted(names: Iterator[str]) -> list[tuple[str, int]]:
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return list(counts.items())


def _left_over(settings: Settings) -> Iterator[str]:
    for folder in ("incoming", "sessions"):
        for path in sorted((settings.data / folder).glob("*")):
            yield f"{folder}/{path.name}"
    for path in sorted(settings.data.rglob(".*.tmp")):
        yield path.name
