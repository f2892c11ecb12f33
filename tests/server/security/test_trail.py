"""The trail of changes: every change is in it, and nobody takes it out again."""

from collections.abc import Mapping

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from app import audit
from app.access.roles import Role
from app.store.tables import Json
from tests.server.pool import image_bytes, label_bytes
from tests.server.security.conftest import GuardedSite

ADMIN = "admin"


def send(site: GuardedSite, method: str, path: str, **body: object) -> None:
    answer = site.client.request(method, path, headers=site.as_role(Role.ADMIN), **body)  # type: ignore[arg-type]  # passed on as it is
    assert answer.status_code == 200, answer.text


@pytest.fixture
def labeled(guarded: GuardedSite) -> GuardedSite:
    """Return a site with two images that have labels."""
    for number in (1, 2):
        image = {"file": (f"case_{number}.nii.gz", image_bytes(number))}
        send(guarded, "PUT", f"/datastore/?image=case_{number}", files=image)
        label = {"label": ("label.nrrd", label_bytes())}
        send(guarded, "PUT", f"/datastore/label?image=case_{number}", files=label)
    return guarded


def newest(site: GuardedSite) -> Json:
    """Return the newest change as an admin reads it."""
    answer = site.client.get("/audit?limit=1", headers=site.as_role(Role.ADMIN))
    assert answer.status_code == 200
    body: Json = answer.json()[0]
    return body


@pytest.mark.parametrize(
    ("method", "path", "form", "action", "change"),
    [
        ("DELETE", "/datastore/?id=case_1", {}, "remove image", {"after": {"is_removed": True}}),
        (
            "PUT",
            "/datastore/image/info?image=case_1",
            {"info": '{"ward": "B"}'},
            "update image info",
            {"before": {"ward": None}, "after": {"ward": "B"}},
        ),
        (
            "PUT",
            "/datastore/label/info?label=case_1&tag=final",
            {"info": '{"remark": "good"}'},
            "update label info",
            {"before": {"remark": None}, "after": {"remark": "good"}},
        ),
        ("DELETE", "/datastore/label?id=case_1&tag=final", {}, "delete label", {"tag": "final"}),
        ("POST", "/train/calcium", {}, "start training", {}),
        ("POST", "/scoring/dice", {}, "start scoring", {}),
    ],
)
def test_every_change_tells_who_and_what_it_was_before_and_after(
    labeled: GuardedSite,
    method: str,
    path: str,
    form: Mapping[str, str],
    action: str,
    change: Json,
) -> None:
    send(labeled, method, path, **({"data": form} if form else {}))
    row = newest(labeled)
    assert (row["actor"], row["action"]) == (ADMIN, action)
    assert row["change"]["means"].startswith("key ")
    assert change.items() <= row["change"].items()


def test_stopping_a_training_is_a_change(labeled: GuardedSite) -> None:
    send(labeled, "POST", "/train/calcium")
    send(labeled, "DELETE", "/train/")
    assert newest(labeled)["action"] == "stop training"


def test_a_name_that_a_client_claims_is_kept_beside_who_it_was(labeled: GuardedSite) -> None:
    with labeled.services.database.reading() as session:
        [first, *_] = audit.recent(session, subject="case_2")
    assert first.actor == ADMIN
    form = {"params": '{"client_id": "professor"}'}
    send(labeled, "PUT", "/datastore/updatelabelinfo?label=case_2&tag=final", data=form)
    assert newest(labeled)["actor"] == ADMIN


def test_the_trail_comes_in_pages_and_by_user(labeled: GuardedSite) -> None:
    def read(query: str) -> list[Json]:
        answer = labeled.client.get(f"/audit?{query}", headers=labeled.as_role(Role.ADMIN))
        body: list[Json] = answer.json()
        return body

    everything = read("limit=1000")
    assert [row["id"] for row in everything] == sorted(
        (row["id"] for row in everything), reverse=True
    )
    assert read(f"limit=2&before_id={everything[1]['id']}") == everything[2:4]
    assert {row["actor"] for row in read("actor=setup")} == {"setup"}
    assert {row["subject"] for row in read("subject=case_1")} == {"case_1"}


@pytest.mark.parametrize(
    "statement",
    ["UPDATE audit_events SET actor = 'nobody'", "DELETE FROM audit_events WHERE id = 1"],
)
def test_the_database_itself_keeps_the_trail(guarded: GuardedSite, statement: str) -> None:
    with (
        pytest.raises(DatabaseError, match="audit events are never changed"),
        guarded.services.database.writing() as session,
    ):
        session.execute(text(statement))
    assert guarded.changes("add user")


def test_no_secret_is_in_the_trail(guarded: GuardedSite) -> None:
    trail = guarded.client.get("/audit?limit=1000", headers=guarded.as_role(Role.ADMIN)).text
    assert "add key" in trail
    for key in guarded.keys.values():
        assert key not in trail
    assert guarded.hasher.hash("correct horse battery staple") not in trail
