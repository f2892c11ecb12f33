"""``caclabel user`` and ``caclabel key``: what they do, print and never print."""

import io
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app import audit
from app.access import logins, users
from app.access.identity import Identity
from app.access.passwords import Argon2
from app.access.roles import Role
from app.access.rows import KeyRow, TokenRow, UserRow
from app.settings import Settings
from app.store.database import Database
from server.cli import main

PASSWORD = "correct horse battery staple"

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Return what runs a command with some text as its input."""

    def run(*words: str, given: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(given))
        code = main([*words, "--data", str(settings.data)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def database(settings: Settings) -> Database:
    return Database(settings.database)


def find_user(database: Database, name: str) -> UserRow:
    with database.reading() as session:
        return users.get_user(session, name)


def test_a_user_can_log_in_with_the_password_that_was_given(
    command: Command, database: Database
) -> None:
    code, out, _ = command("user", "add", "Dr-A", "--role", "reviewer", "--stdin", given=PASSWORD)
    assert code == 0
    assert "added reviewer dr-a" in out
    kept = find_user(database, "dr-a").password_hash
    assert kept.startswith("$argon2id$")
    assert Argon2().verify(kept, PASSWORD)
    assert not Argon2().verify(kept, PASSWORD + "x")


def test_the_folder_of_the_first_user_is_for_its_maker_alone(tmp_path: Path) -> None:
    data = tmp_path / "not" / "yet"
    assert main(["user", "add", "anna", "--no-password", "--data", str(data)]) == 0
    assert stat.S_IMODE(data.stat().st_mode) == 0o700


def test_no_password_is_drawn_for_a_name_that_is_taken(command: Command) -> None:
    command("user", "add", "dr-a", "--no-password")
    code, out, error = command("user", "add", "dr-a", "--generate")
    assert (code, error) == (2, "caclabel: there is a user dr-a already\n")
    assert "password" not in out


def test_a_generated_password_is_shown(command: Command, database: Database) -> None:
    _, out, _ = command("user", "add", "dr-a", "--generate")
    password = out.splitlines()[0].partition(": ")[2]
    assert Argon2().verify(find_user(database, "dr-a").password_hash, password)


@pytest.mark.parametrize(
    ("words", "given", "problem"),
    [
        (("user", "add", "dr-a", "--stdin"), "eleven char", "12 to 1024 characters"),
        (("user", "add", "../etc", "--no-password"), "", "expected a user name"),
        (("user", "disable", "nobody"), "", "there is no user nobody"),
        (("key", "add", "nobody"), "", "there is no user nobody"),
        (("key", "revoke", "0123"), "", "there is no key 0123"),
    ],
)
def test_a_refusal_is_one_sentence(
    command: Command, words: tuple[str, ...], given: str, problem: str
) -> None:
    code, _, error = command(*words, given=given)
    assert code == 2
    assert problem in error


def test_a_name_is_taken_once(command: Command) -> None:
    command("user", "add", "dr-a", "--no-password")
    code, _, error = command("user", "add", "DR-A", "--no-password")
    assert (code, error) == (2, "caclabel: there is a user dr-a already\n")


def test_users_are_changed_and_every_change_is_written_down(
    command: Command, database: Database
) -> None:
    command("user", "add", "dr-a", "--no-password")
    command("user", "role", "dr-a", "admin")
    command("user", "disable", "dr-a")
    _, listed, _ = command("user", "list")
    assert "admin" in listed
    assert find_user(database, "dr-a").disabled_at is not None
    command("user", "enable", "dr-a")
    assert find_user(database, "dr-a").disabled_at is None
    with database.reading() as session:
        trail = audit.recent(session)
    assert [row.action for row in trail] == ["enable user", "disable user", "set role", "add user"]
    before, after = trail[2].change["before"], trail[2].change["after"]
    assert (before["role"], after["role"]) == ("annotator", "admin")
    assert all(row.actor.endswith("(command line)") for row in trail)


def test_a_key_is_shown_once_and_worth_nothing_after_its_revocation(
    command: Command, database: Database
) -> None:
    command("user", "add", "dr-a", "--no-password", "--role", "admin")
    _, out, _ = command("key", "add", "dr-a", "--label", "reading room", "--role", "annotator")
    key = out.splitlines()[0].partition("once: ")[2]
    _, listed, _ = command("key", "list")
    assert key not in listed
    assert "reading room" in listed
    with database.reading() as session:
        found = logins.who_has_key(session, key, now=2e9)
        assert found is not None
        assert (found.name, found.role) == ("dr-a", "annotator")
        key_id = session.query(KeyRow).one().id
    command("key", "revoke", key_id)
    with database.reading() as session:
        assert logins.who_has_key(session, key, now=2e9) is None


def test_the_role_of_a_user_bounds_that_of_the_keys(command: Command, database: Database) -> None:
    command("user", "add", "dr-a", "--no-password", "--role", "admin")
    _, out, _ = command("key", "add", "dr-a")
    key = out.splitlines()[0].partition("once: ")[2]
    command("user", "role", "dr-a", "user")
    with database.reading() as session:
        found = logins.who_has_key(session, key, now=2e9)
    assert found is not None
    assert found.role == "user"


def test_a_key_ends_after_its_days(command: Command, database: Database) -> None:
    command("user", "add", "dr-a", "--no-password")
    _, out, _ = command("key", "add", "dr-a", "--days", "2")
    key = out.splitlines()[0].partition("once: ")[2]
    with database.reading() as session:
        made_at = session.query(KeyRow).one().created_at
        for days, is_valid in ((1.9, True), (2.1, False)):
            found = logins.who_has_key(session, key, now=made_at + days * 24 * 3600)
            assert (found is not None) == is_valid


def test_no_key_is_made_in_a_folder_that_no_server_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["key", "list", "--data", str(tmp_path / "elsewhere")]) == 2
    assert "there is no database" in capsys.readouterr().err


def test_somebody_is_logged_out_by_name_also_whom_only_the_provider_knows(
    command: Command, database: Database
) -> None:
    identity = Identity("dr-oidc", Role.ANNOTATOR, "identity provider")
    with database.writing() as session:
        for _ in range(2):
            logins.issue_token(
                session, identity, is_cookie=True, is_local=False, hours=1.0, now=time.time()
            )
    assert command("user", "logout", "Dr-Oidc")[1] == "ended 2 logins of dr-oidc\n"
    assert command("user", "logout", "dr-oidc")[1] == "ended 0 logins of dr-oidc\n"
    with database.reading() as session:
        assert session.query(TokenRow).count() == 0
        assert [row.change for row in audit.recent(session, 2)] == [{"logins": 0}, {"logins": 2}]


def test_a_backup_and_its_restore_are_in_the_trail(
    command: Command, database: Database, settings: Settings, tmp_path: Path
) -> None:
    assert command("backup", str(tmp_path / "copy"))[0] == 0
    with database.reading() as session:
        [row] = audit.recent(session, 1)
    assert row.action == "make backup"
    assert row.change["after"]["is_sound"] is True
    restored = tmp_path / "restored"
    assert main(["restore", str(tmp_path / "copy"), "--data", str(restored)]) == 0
    other = Database(settings.model_copy(update={"data": restored}).database)
    with other.reading() as session:
        assert audit.recent(session, 1)[0].action == "restore backup"
    other.close()
