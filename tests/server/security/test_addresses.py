"""Keys in the path, for programs that send no header: who they are, and where keys never show."""

import logging
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.access.roles import Role
from app.settings import Settings
from server import logs
from server.main import create_app
from server.security.redaction import redact
from tests.server.pool import image_bytes
from tests.server.security.conftest import PASSWORD, GuardedSite

KEY = "cack_0123456789ab_" + "k-_9" * 10 + "abc"


def test_a_key_in_the_path_is_its_users(guarded: GuardedSite) -> None:
    root = f"/k/{guarded.keys[Role.ANNOTATOR]}"
    assert guarded.client.get(f"{root}/auth/token/valid").json()["username"] == "annotator"
    image = {"file": ("case_1.nii.gz", image_bytes(1))}
    assert guarded.client.put(f"{root}/datastore/?image=case_1", files=image).status_code == 200
    assert [row.actor for row in guarded.changes("upload image")] == ["annotator"]
    download = guarded.client.get(f"{root}/datastore/image?image=case_1")
    assert download.content == image_bytes(1)


def test_a_key_in_the_path_may_no_more_than_its_role(guarded: GuardedSite) -> None:
    answer = guarded.client.get(f"/k/{guarded.keys[Role.REVIEWER]}/audit")
    assert answer.status_code == 403


def test_whoever_has_a_key_in_the_path_need_not_log_in(guarded: GuardedSite) -> None:
    root = f"/k/{guarded.keys[Role.USER]}"
    assert guarded.client.get(f"{root}/auth/").json() == {"enabled": False}
    assert guarded.client.get(f"{root}/").status_code == 200


@pytest.mark.parametrize("key", [KEY, "nonsense", "", "%2e%2e"])
def test_a_wrong_key_in_the_path_opens_nothing(guarded: GuardedSite, key: str) -> None:
    for place in ("info/", "auth/", ""):
        assert guarded.client.get(f"/k/{key}/{place}").status_code == 401


def test_a_login_is_no_key(guarded: GuardedSite) -> None:
    form = {"username": "user", "password": PASSWORD}
    token = guarded.client.post("/auth/token", data=form).json()["access_token"]
    assert guarded.client.get(f"/k/{token}/info/").status_code == 401


def test_no_answer_repeats_the_key(guarded: GuardedSite) -> None:
    key = guarded.keys[Role.ADMIN]
    for place in (
        "",
        "docs",
        "openapi.json",
        "info/",
        "health",
        "nowhere",
        "datastore/?output=all",
    ):
        answer = guarded.client.get(f"/k/{key}/{place}")
        assert key not in answer.text
        assert all(key not in value for value in answer.headers.values())
    # Nor to the next one who asks.
    assert "/k/" not in guarded.client.get("/openapi.json", headers=guarded.as_role(Role.USER)).text


def test_a_failure_is_logged_without_the_key(
    guarded: GuardedSite, caplog: pytest.LogCaptureFixture
) -> None:
    application = create_app(guarded.services.settings)
    application.state.services = guarded.services
    # Whatever fails under an address with a key.
    guarded.services.database.engine.dispose()
    with guarded.services.database.writing() as session:
        session.connection().exec_driver_sql("ALTER TABLE quarantine RENAME TO lost")
    key = guarded.keys[Role.ADMIN]
    with (
        TestClient(application, raise_server_exceptions=False) as client,
        caplog.at_level(logging.DEBUG),
    ):
        answer = client.get(f"/k/{key}/quarantine")
    assert answer.status_code == 500
    # The client of the test logs, too.
    lines = [record.getMessage() for record in caplog.records if "httpx" not in record.name]
    assert any("/quarantine" in line for line in lines)
    assert not any(key in line for line in lines)


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        (f"GET /k/{KEY}/info/ failed", "GET /k/<hidden>/info/ failed"),
        ("GET /k/mistyped-key/info/", "GET /k/<hidden>/info/"),
        (f"refused {KEY}.", "refused <hidden>."),
        (f"Authorization: Bearer {KEY}", "Authorization: Bearer <hidden>"),
        ("authorization: bearer abc.def", "authorization: bearer <hidden>"),
        ("token eyJhbGciOi.eyJpc3MiOi.c2ln is", "token <hidden> is"),
        ("nothing to hide /kidney/1", "nothing to hide /kidney/1"),
    ],
)
def test_secrets_are_taken_out_of_lines(line: str, kept: str) -> None:
    assert redact(line) == kept


def test_the_log_file_has_no_secret_even_in_tracebacks(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    # basicConfig closes the handlers it replaces, which belong to the test runner.
    root.handlers = []
    try:
        logs.write_to_file(settings)
        try:
            int(f"/k/{KEY}/")
        except ValueError:
            logging.getLogger("test").exception("failed with %s", KEY)
        written = logs.log_file(settings).read_text()
    finally:
        for handler in root.handlers:
            handler.close()
        root.handlers = before
        root.setLevel(level)
    assert "Traceback" in written
    assert KEY not in written
