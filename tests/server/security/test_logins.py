"""Logging in: tokens, what ends them, and what strangers learn."""

import time

import pytest

from app.access import logins, users
from app.access.identity import Identity
from app.access.roles import Role
from server.security.middleware import COOKIE
from tests.server.pool import image_bytes, label_bytes
from tests.server.security.conftest import PASSWORD, GuardedSite


def log_in(site: GuardedSite, name: str = "annotator", password: str = PASSWORD) -> str:
    """Log in as 3D Slicer does; returns the token."""
    form = {"username": name, "password": password, "grant_type": "password"}
    answer = site.client.post("/auth/token", data=form)
    assert answer.status_code == 200, answer.text
    assert answer.json()["token_type"] == "Bearer"
    return str(answer.json()["access_token"])


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_clients_are_told_to_log_in_without_being_asked_who_they_are(guarded: GuardedSite) -> None:
    answer = guarded.client.get("/auth/")
    assert (answer.status_code, answer.json()["enabled"]) == (200, True)


def test_a_token_is_its_users(guarded: GuardedSite) -> None:
    answer = guarded.client.get("/auth/token/valid", headers=bearer(log_in(guarded)))
    assert answer.json()["username"] == "annotator"
    assert answer.json()["roles"] == ["user", "annotator"]


def test_capital_letters_of_a_name_do_not_matter(guarded: GuardedSite) -> None:
    answer = guarded.client.get("/auth/token/valid", headers=bearer(log_in(guarded, "Annotator")))
    assert answer.json()["username"] == "annotator"


@pytest.mark.parametrize(
    ("name", "password"),
    [("annotator", "wrong"), ("nobody", PASSWORD), ("annotator", ""), ("", PASSWORD), ("a\0", "x")],
)
def test_what_is_wrong_with_a_login_is_not_told(
    guarded: GuardedSite, name: str, password: str
) -> None:
    answer = guarded.client.post("/auth/token", data={"username": name, "password": password})
    # An empty field is one that is missing.
    assert answer.status_code == (422 if not (name and password) else 401)
    if answer.status_code == 401:
        assert answer.json() == {"detail": "Could not validate credentials"}


@pytest.mark.parametrize("name", ["annotator", "nobody", "disabled", "keys-only"])
def test_every_login_costs_one_verification(guarded: GuardedSite, name: str) -> None:
    with guarded.services.database.writing() as session:
        for extra in ("disabled", "keys-only"):
            kept = guarded.hasher.hash(PASSWORD) if extra == "disabled" else ""
            users.add_user(session, extra, Role.USER, password_hash=kept, actor="x", now=1.0)
        users.disable_user(session, "disabled", actor="x", now=1.0)
    guarded.hasher.asked.clear()
    answer = guarded.client.post("/auth/token", data={"username": name, "password": "wrong one"})
    assert answer.status_code == 401
    assert len(guarded.hasher.asked) == 1


def test_a_refused_login_is_written_down_without_what_may_be_a_password(
    guarded: GuardedSite,
) -> None:
    for name in ("hunter2hunter2", "annotator"):
        guarded.client.post("/auth/token", data={"username": name, "password": "wrong"})
    assert [row.subject for row in guarded.changes("refuse login")] == ["annotator", "unknown name"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer nonsense"},
        {"Authorization": "Bearer cact_000000000000_" + "A" * 43},
        {"Authorization": "Bearer cack_000000000000_" + "A" * 43},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic YTpi"},
        {"Cookie": f"{COOKIE}=cacs_000000000000_" + "A" * 43},
    ],
)
def test_a_wrong_credential_is_told_from_none(
    guarded: GuardedSite, headers: dict[str, str]
) -> None:
    answer = guarded.client.get("/info/", headers=headers)
    assert (answer.status_code, answer.json()["detail"]) == (401, "Could not validate credentials")
    assert answer.headers["www-authenticate"] == "Bearer"
    nothing = guarded.client.get("/info/")
    assert (nothing.status_code, nothing.json()["detail"]) == (401, "Not authenticated")


def test_one_wrong_character_makes_a_token_worthless(guarded: GuardedSite) -> None:
    token = log_in(guarded)
    changed = token[:-1] + ("A" if token[-1] != "A" else "B")
    assert guarded.client.get("/info/", headers=bearer(changed)).status_code == 401


def test_the_database_holds_no_token(guarded: GuardedSite) -> None:
    token = log_in(guarded)
    kept = (guarded.services.settings.data / "caclabel.sqlite").read_bytes()
    kept += (guarded.services.settings.data / "caclabel.sqlite-wal").read_bytes()
    assert b"annotator" in kept
    for secret in (token, guarded.keys[Role.ADMIN], PASSWORD):
        assert secret.encode() not in kept


@pytest.mark.parametrize(("age_h", "status"), [(11.9, 200), (12.1, 401)])
def test_a_token_ends_after_its_time(guarded: GuardedSite, age_h: float, status: int) -> None:
    with guarded.services.database.writing() as session:
        token = logins.issue_token(
            session,
            Identity("user", Role.USER, "password"),
            is_cookie=False,
            is_local=True,
            hours=12,
            now=time.time() - age_h * 3600,
        )
    assert guarded.client.get("/info/", headers=bearer(token)).status_code == status


@pytest.mark.parametrize("way", ["disable", "password", "role"])
def test_what_changes_for_a_user_holds_from_the_next_request_on(
    guarded: GuardedSite, way: str
) -> None:
    token = log_in(guarded, "admin")
    assert guarded.client.get("/audit", headers=bearer(token)).status_code == 200
    with guarded.services.database.writing() as session:
        if way == "disable":
            users.disable_user(session, "admin", actor="x", now=2.0)
        elif way == "password":
            users.set_password(session, "admin", password_hash="new", actor="x", now=2.0)
        else:
            users.set_role(session, "admin", Role.USER, actor="x", now=2.0)
    status = guarded.client.get("/audit", headers=bearer(token)).status_code
    assert status == (403 if way == "role" else 401)


def test_a_disabled_user_has_no_key_either(guarded: GuardedSite) -> None:
    with guarded.services.database.writing() as session:
        users.disable_user(session, "annotator", actor="x", now=2.0)
    answer = guarded.client.get("/info/", headers=guarded.as_role(Role.ANNOTATOR))
    assert answer.status_code == 401


def test_nobody_changes_a_label_under_anothers_name(guarded: GuardedSite) -> None:
    headers = guarded.as_role(Role.ANNOTATOR)
    image = {"file": ("case_1.nii.gz", image_bytes(1))}
    guarded.client.put("/datastore/?image=case_1", files=image, headers=headers)
    label = {"label": ("label.nrrd", label_bytes())}
    claim = {"params": '{"client_id": "professor"}'}
    answer = guarded.client.put(
        "/datastore/label?image=case_1", files=label, data=claim, headers=headers
    )
    assert answer.status_code == 200, answer.text
    [row] = guarded.changes("submit label")
    assert row.actor == "annotator"
    assert row.change["means"].startswith("key ")
