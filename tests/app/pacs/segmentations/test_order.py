"""Which of several labels and segmentations counts, in whatever order they are found."""

from datetime import UTC, datetime
from pathlib import Path

import pydicom
import pytest
from sqlalchemy import select

from app.calcium.labels import LABELS
from app.store.tables import ImageRow
from tests.app.conftest import Deployment
from tests.app.imaging.segmentations import edited, foreign_segmentation
from tests.app.pacs.segmentations.taking import all_labels, mask, notes, take
from tests.app.submitting import submit_label
from tests.factories import make_volume, write_itk

NOON = datetime(2025, 3, 1, 12, tzinfo=UTC).timestamp()
"""When the labels of these tests come."""

HOUR_S = 3600.0


class TestOrder:
    def dated(
        self, series: list[Path], name: str, made_s: float | None, utc_offset: str = "+0000"
    ) -> bytes:
        """Make a segmentation at a time, by a clock in UTC unless without an offset."""

        def date_it(dataset: pydicom.Dataset) -> None:
            if made_s is None:
                return
            made = datetime.fromtimestamp(made_s, UTC if utc_offset else None)
            dataset.ContentDate, dataset.ContentTime = made.strftime("%Y%m%d,%H%M%S.123").split(",")
            if utc_offset:
                dataset.TimezoneOffsetFromUTC = utc_offset

        def undate(dataset: pydicom.Dataset) -> None:
            dataset.ContentDate = dataset.ContentTime = ""
            date_it(dataset)

        return edited(foreign_segmentation(series, mask(), [name]), undate)

    def current(self, deployment: Deployment) -> list[str]:
        return [entry["name"] for entry in all_labels(deployment)[-1].info["label_info"]]

    def draw(self, deployment: Deployment, folder: Path, *, now: float) -> None:
        """Let a person submit a label as 3D Slicer does."""
        path = write_itk(folder / "label.nrrd", mask() * 2, make_volume().grid)
        with deployment.database.reading() as session:
            image_id = session.scalars(select(ImageRow.id)).one()
        submit_label(deployment, image_id, path, params={"label_names": LABELS}, now=now)

    def test_the_newest_counts_in_whatever_order_they_are_found(
        self, deployment: Deployment, series: list[Path]
    ) -> None:
        newest, newer, older = (
            self.dated(series, name, NOON - hours * HOUR_S)
            for hours, name in ((1, "LCX"), (2, "LM"), (3, "RCA"))
        )
        assert take(deployment, newer, origin="pacs", now=NOON).is_new
        refused = take(deployment, older, origin="pacs", now=NOON)
        assert "older than the current label" in refused.problem
        assert self.current(deployment) == ["LM"]
        assert take(deployment, newest, origin="pacs", now=NOON).is_new
        assert self.current(deployment) == ["LCX"]

    @pytest.mark.parametrize("utc_offset", ["+0000", ""])
    @pytest.mark.parametrize("by_s", [-1.0, 1.0])
    def test_a_label_of_a_person_gives_way_to_a_newer_one_only(
        self,
        deployment: Deployment,
        series: list[Path],
        tmp_path: Path,
        by_s: float,
        utc_offset: str,
    ) -> None:
        self.draw(deployment, tmp_path, now=NOON)
        found = self.dated(series, "RCA", NOON + by_s, utc_offset)
        assert take(deployment, found, origin="pacs", now=NOON + HOUR_S).is_new == (by_s > 0)
        assert self.current(deployment) == (["RCA"] if by_s > 0 else list(LABELS))

    def test_the_offset_of_a_clock_counts(
        self, deployment: Deployment, series: list[Path], tmp_path: Path
    ) -> None:
        self.draw(deployment, tmp_path, now=NOON)
        # 13:00 in a zone two hours ahead of UTC is an hour before the label.
        found = self.dated(series, "RCA", NOON + HOUR_S, "+0200")
        taken = take(deployment, found, origin="pacs", now=NOON + 2 * HOUR_S)
        assert "older than the current label" in taken.problem
        assert notes(deployment)[0].problem == taken.problem

    @pytest.mark.parametrize(
        ("after_s", "reason"), [(None, "does not tell when"), (7 * HOUR_S, "in the future")]
    )
    def test_in_doubt_the_label_of_a_person_stays(
        self,
        deployment: Deployment,
        series: list[Path],
        tmp_path: Path,
        after_s: float | None,
        reason: str,
    ) -> None:
        self.draw(deployment, tmp_path, now=NOON)
        found = self.dated(series, "RCA", None if after_s is None else NOON + after_s)
        taken = take(deployment, found, origin="pacs", now=NOON + HOUR_S)
        assert taken.label is None
        assert reason in notes(deployment)[0].problem

    def test_what_somebody_stores_now_counts_now(
        self, deployment: Deployment, series: list[Path]
    ) -> None:
        for name, made_s in (("LM", NOON), ("RCA", NOON - HOUR_S)):
            assert take(deployment, self.dated(series, name, made_s), now=NOON).is_new
        assert self.current(deployment) == ["RCA"]
        # Although the file says that it was made before.
        between = self.dated(series, "LCX", NOON - HOUR_S / 2)
        assert take(deployment, between, origin="pacs", now=NOON + HOUR_S).label is None
