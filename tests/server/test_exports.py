"""``/exports``: labels on their way to the DICOMweb server."""

import pytest

from app.store.tables import ExportRow, Json
from tests.app.pool import add_image, label_row
from tests.server.conftest import Site


@pytest.fixture
def exporting(site: Site) -> Site:
    """Return a site with one export that waits, one that failed and one that is done."""
    with site.services.database.writing() as session:
        for image_id, status in (("a", "waiting"), ("b", "failed"), ("c", "done")):
            add_image(session, image_id)
            label = label_row(image_id)
            session.add(label)
            session.flush()
            row = ExportRow(
                label_id=label.id,
                status=status,
                attempts=3,
                next_at=100.0,
                problem="no room" if status == "failed" else "",
                seg_uid="1.2",
                sr_uid="1.3",
                ended_at=None if status == "waiting" else 90.0,
            )
            session.add(row)
    return site


def listed(site: Site, query: str = "") -> list[Json]:
    body: list[Json] = site.client.get(f"/exports{query}").json()
    return body


def test_tells_the_status_of_each_and_what_went_wrong(exporting: Site) -> None:
    done, failed, waiting = listed(exporting)
    assert (done["image"], done["status"], done["ended_at"]) == ("c", "done", 90.0)
    assert (failed["image"], failed["problem"], failed["attempts"]) == ("b", "no room", 3)
    assert (waiting["image"], waiting["version"], waiting["next_at"]) == ("a", 1, 100.0)
    assert (waiting["seg_uid"], waiting["sr_uid"]) == ("1.2", "1.3")
    assert "ended_at" not in waiting
    assert "next_at" not in done


def test_lists_one_status_and_so_many_as_wanted(exporting: Site) -> None:
    assert [row["image"] for row in listed(exporting, "?status=failed")] == ["b"]
    assert [row["image"] for row in listed(exporting, "?limit=2")] == ["c", "b"]
    assert exporting.client.get("/exports?status=nope").status_code == 422


def test_a_failed_one_is_tried_again_at_once(exporting: Site) -> None:
    failed = listed(exporting, "?status=failed")[0]["label_id"]
    answer = exporting.client.post(f"/exports/{failed}/retry").json()
    assert (answer["status"], answer["attempts"]) == ("waiting", 0)
    assert answer["next_at"] > 100.0
    assert listed(exporting, "?status=failed") == []


def test_what_is_stored_stays_so(exporting: Site) -> None:
    done = listed(exporting, "?status=done")[0]["label_id"]
    answer = exporting.client.post(f"/exports/{done}/retry")
    assert answer.status_code == 409
    assert "done" in answer.json()["detail"]


def test_no_such_export_is_404(site: Site) -> None:
    assert site.client.post("/exports/77/retry").status_code == 404


def test_a_number_beyond_every_id_is_refused(site: Site) -> None:
    assert site.client.post(f"/exports/{2**70}/retry").status_code == 422
