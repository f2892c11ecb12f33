"""Labels wait, are refused, dropped or tried again on their way to a real DICOMweb server."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
from pydantic import HttpUrl

from app import jobs, labels
from app.errors import ConflictError, NotFoundError
from app.pacs import export_job, exports
from app.store.tables import ExportRow
from tests.app.imaging.segmentations import canonical
from tests.app.pacs.export.stored import calcified, stored
from tests.app.pacs.export_site import ExportSite, run_export, unreachable
from tests.app.pool import add_image, label_row
from tests.dicomweb_stub import Answer, Query, stub
from tests.factories import make_labels
from tests.orthanc import OrthancServer


def test_while_the_server_is_down_labels_wait_and_then_go_once(
    remote: OrthancServer, site: ExportSite
) -> None:
    remote.kill()
    try:
        label = site.submit(calcified())
        site.export()
        (row,) = site.exports()
        assert site.labels()[0].id == label.id
        assert (row.status, row.attempts, row.next_at) == ("waiting", 1, site.clock() + 60)
        assert "DICOMweb server" in row.problem
    finally:
        remote.start()
    site.export()
    assert stored(remote, site, "SEG") == [], "tried again before its time"
    site.clock.now += 60
    for _ in range(2):
        site.export()
    assert site.exports()[0].status == "done"
    assert [len(stored(remote, site, kind)) for kind in ("SEG", "SR")] == [1, 1]


def test_what_is_stored_again_after_a_kill_is_the_same_instance(
    remote: OrthancServer, site: ExportSite
) -> None:
    site.submit(calcified())
    site.export()
    before = stored(remote, site, "SEG")
    # As if the worker had been killed between storing and noting that.
    with site.context.database.writing() as session:
        row = session.merge(site.exports()[0])
        row.status, row.ended_at, row.next_at = "waiting", None, site.clock()
    site.export()
    assert site.exports()[0].attempts == 2
    assert stored(remote, site, "SEG") == before
    assert len(stored(remote, site, "SR")) == 1


def test_a_label_that_a_newer_one_replaced_stays_here(
    remote: OrthancServer, site: ExportSite
) -> None:
    site.submit(make_labels())
    site.clock.now += 1
    site.submit(calcified())
    site.export()
    old, new = site.exports()
    assert (old.status, old.problem) == ("dropped", "a newer label took its place")
    assert new.status == "done"
    (segmentation,) = stored(remote, site, "SEG")
    np.testing.assert_array_equal(canonical(segmentation, site.volume.grid), calcified())


def test_a_deleted_label_stays_here(remote: OrthancServer, site: ExportSite) -> None:
    label = site.submit(calcified())
    with site.context.database.writing() as session:
        labels.delete_label(session, label.image_id, "final", actor="anna", now=site.clock())
    site.export()
    assert (site.exports()[0].status, site.exports()[0].problem) == (
        "dropped",
        "the label was deleted",
    )
    assert stored(remote, site, "SEG") == []


def test_one_attempt_tells_for_all_that_the_server_is_down(
    tmp_path: Path, migrated_file: Path
) -> None:
    context = unreachable(tmp_path, migrated_file)
    with context.database.writing() as session:
        for image_id in ("a", "b"):
            image = add_image(session, image_id)
            image.source, image.kind, image.path = "dicomweb", "dicom", f"1.2/1.{ord(image_id)}"
            label = label_row(image_id)
            session.add(label)
            session.flush()
            exports.request_export(session, context.settings, image, label, now=5.0)
    run_export(context)
    with context.database.reading() as session:
        rows = [export for export, _ in exports.list_exports(session, limit=9)]
    assert sorted(row.attempts for row in rows) == [0, 1]
    assert {row.next_at for row in rows} == {context.clock() + 60}
    assert {row.status for row in rows} == {"waiting"}
    context.database.close()


class TestRefusal:
    @pytest.fixture
    def refusing(self, site: ExportSite) -> Iterator[ExportSite]:
        """Let the series come from the cache, and the server refuse what is stored."""
        refusal = Answer(b'{"Message": "no room for segmentations"}', status=409)
        with stub(lambda _: refusal) as running:
            settings = site.context.settings.model_copy(update={"studies": HttpUrl(running.url)})
            object.__setattr__(site.context, "settings", settings)
            yield site

    def test_a_third_refusal_is_final_and_tells_why(self, refusing: ExportSite) -> None:
        refusing.submit(calcified())
        seen = []
        for _ in range(4):
            refusing.export()
            (row,) = refusing.exports()
            seen.append((row.status, row.attempts))
            refusing.clock.now += 3600
        assert seen == [("waiting", 1), ("waiting", 2), ("failed", 3), ("failed", 3)]
        assert row.problem
        assert len(refusing.labels()) == 1

    def test_outages_before_are_no_refusals(self, refusing: ExportSite) -> None:
        refusing.submit(calcified())
        context = refusing.context
        answering = context.settings
        away = answering.model_copy(update={"studies": HttpUrl("http://127.0.0.1:9/dicom-web")})
        seen = []
        for settings in (away, away, away, answering, answering, answering):
            object.__setattr__(context, "settings", settings)
            refusing.export()
            (row,) = refusing.exports()
            seen.append((row.status, row.attempts))
            refusing.clock.now += 3600
        assert seen == [
            *(("waiting", attempt) for attempt in range(1, 6)),
            ("failed", 6),
        ]

    def test_what_a_broken_off_attempt_has_stored_is_stored(
        self, site: ExportSite, remote: OrthancServer
    ) -> None:
        """Some servers refuse an instance that they have."""
        site.submit(calcified())
        site.export()
        [row] = site.exports()
        with site.context.database.writing() as session:
            again = session.get_one(ExportRow, row.label_id)
            again.status, again.next_at = "waiting", 0.0

        def refusing(query: Query) -> Answer:
            if "SOPInstanceUID" not in query.values:
                return Answer(status=409)
            path = query.path.removeprefix("/dicom-web")
            found = requests.get(remote.url + path, query.values, timeout=30.0)
            return Answer(found.content)

        with stub(refusing) as running:
            settings = site.context.settings.model_copy(update={"studies": HttpUrl(running.url)})
            object.__setattr__(site.context, "settings", settings)
            site.export()
        assert site.exports()[0].status == "done"
        assert len(stored(remote, site, "SEG")) == 1

    def test_a_person_can_have_it_tried_again(self, refusing: ExportSite) -> None:
        label = refusing.submit(calcified())
        for _ in range(3):
            refusing.export()
            refusing.clock.now += 3600
        with refusing.context.database.writing() as session:
            exports.retry_export(session, label.id, actor="anna", now=refusing.clock())
        (row,) = refusing.exports()
        assert (row.status, row.attempts, row.ended_at) == ("waiting", 0, None)
        refusing.export()
        assert refusing.exports()[0].status == "waiting", "refusals are counted anew"


def test_what_is_stored_is_not_stored_again_on_request(site: ExportSite) -> None:
    label = site.submit(calcified())
    site.export()
    with site.context.database.writing() as session:
        with pytest.raises(ConflictError, match="done"):
            exports.retry_export(session, label.id, actor="anna", now=1.0)
        with pytest.raises(NotFoundError):
            exports.retry_export(session, 999, actor="anna", now=1.0)


def test_only_final_labels_go_and_only_when_wanted(site: ExportSite) -> None:
    site.submit(calcified(), tag="draft")
    assert site.exports() == []
    settings = site.context.settings.model_copy(update={"pacs_export": False})
    object.__setattr__(site.context, "settings", settings)
    site.submit(calcified())
    assert site.exports() == []


def test_the_worker_asks_for_the_job_when_something_is_due(site: ExportSite) -> None:
    def open_job() -> bool:
        export_job.request_export_if_due(site.context)
        with site.context.database.reading() as session:
            return jobs.running(session, "export") is not None

    assert not open_job()
    site.submit(calcified())
    assert open_job()
    assert open_job(), "one job at a time"
    with site.context.database.reading() as session:
        assert len(jobs.history(session, "export")) == 1


def test_pauses_double_up_to_an_hour() -> None:
    assert [exports.pause_s(attempt) for attempt in (1, 2, 3, 6, 7, 500)] == [
        60,
        120,
        240,
        1920,
        3600,
        3600,
    ]
