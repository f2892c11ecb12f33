"""One case after the other: a bad one is reported, and the rest goes in."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from app import images, model_versions
from app.errors import CacLabelError
from app.exchange.arrivals import Taken
from app.exchange.data_folder import DataFolder
from app.intake.folder_scan import ScanReport


class Case(Protocol):
    """One image of a data set, with whatever belongs to it."""

    @property
    def name(self) -> str:
        """What the case is called in its data set; never a person's name."""

    def take(self, data: DataFolder) -> Taken:
        """Take it into the pool.

        Raises:
            CacLabelError: If it cannot be used; nothing of it is kept then.
        """


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    Attributes:
        name: Name of the case.
        taken: What was taken in; None if nothing could be.
        problems: Sentences about what could not be used.
    """

    name: str
    taken: Taken | None
    problems: tuple[str, ...]

    @property
    def what(self) -> str:
        """What is new, in words."""
        if self.taken is None:
            return "refused"
        parts = ["image"] if self.taken.is_new_image else []
        if self.taken.new_labels:
            parts.append(
                "label" if self.taken.new_labels == 1 else f"{self.taken.new_labels} labels"
            )
        if self.taken.is_new_reference:
            parts.append("reference scores")
        return " + ".join(parts) or "nothing new"


def import_cases(data: DataFolder, cases: Sequence[Case]) -> Iterator[Outcome]:
    """Take cases in, each in a transaction of its own; new images are scored afterwards.

    Scoring is asked for also when the caller stops in the middle.
    """
    fresh: list[str] = []
    try:
        for case in cases:
            outcome = _take(data, case)
            if outcome.taken is not None and outcome.taken.is_new_image:
                fresh.append(outcome.taken.image_id)
            yield outcome
    finally:
        if fresh:
            with data.database.writing() as session:
                model_versions.request_scoring(session, fresh, now=data.now())


def _take(data: DataFolder, case: Case) -> Outcome:
    try:
        taken = case.take(data)
    except CacLabelError as error:
        return Outcome(case.name, None, (str(error),))
    except OSError as error:
        return Outcome(case.name, None, (f"a file cannot be read or written: {error.strerror}",))
    return Outcome(case.name, taken, taken.problems)


def scan_if_inside(
    data: DataFolder, folder: Path, on_progress: Callable[[float], None]
) -> ScanReport | None:
    """Scan the studies folder when a data set lies in it, so that its images stay there.

    Returns:
        What the scan did; None when the data set lies elsewhere.
    """
    root = data.settings.studies_folder
    if root is None or not folder.resolve().is_relative_to(root.resolve()):
        return None
    report = images.scan_studies(
        data.database, data.settings, now=data.now, on_progress=on_progress
    )
    if report.registered:
        with data.database.writing() as session:
            model_versions.request_pool_scoring(session, data.settings, now=data.now())
    return report
