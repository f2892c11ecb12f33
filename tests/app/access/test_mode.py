"""Where people have to log in, and where a server refuses to listen."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from app.access import keys, mode, users
from app.access.roles import Role
from app.errors import SettingsError
from app.settings import Settings
from tests.app.conftest import Deployment

ISSUER = {"oidc_issuer": "https://id.example/realms/x", "oidc_audience": "caclabel"}


def required(deployment: Deployment, **changes: object) -> bool:
    with deployment.database.reading() as session:
        return mode.is_required(session, deployment.settings.model_copy(update=changes))


def check(deployment: Deployment, **changes: object) -> None:
    settings: Settings = deployment.settings.model_copy(update=changes)
    with deployment.database.reading() as session:
        mode.check_binding(session, settings, now=100.0)


def add_user(deployment: Deployment, password_hash: str = "kept") -> None:
    with deployment.database.writing() as session:
        users.add_user(session, "dr-a", Role.ADMIN, password_hash=password_hash, actor="x", now=1.0)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_nobody_logs_in_on_this_machine_by_default(deployment: Deployment, host: str) -> None:
    assert not required(deployment, host=host)
    check(deployment, host=host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "", "localhost.example"])
def test_other_addresses_are_refused_without_anybody_to_log_in(
    deployment: Deployment, host: str
) -> None:
    assert required(deployment, host=host)
    with pytest.raises(SettingsError, match="caclabel user add NAME --role admin"):
        check(deployment, host=host)


def test_logins_cannot_be_switched_off_on_other_addresses(deployment: Deployment) -> None:
    add_user(deployment)
    with pytest.raises(SettingsError, match="CACLABEL_ACCESS=auto"):
        check(deployment, host="0.0.0.0", access="off")


def test_a_user_with_a_password_opens_other_addresses(deployment: Deployment) -> None:
    add_user(deployment)
    check(deployment, host="0.0.0.0")


@pytest.mark.parametrize(
    ("days", "is_revoked", "is_enough"),
    [(None, False, True), (1, False, True), (None, True, False)],
)
def test_a_valid_key_is_enough(
    deployment: Deployment, days: float | None, is_revoked: bool, is_enough: bool
) -> None:
    add_user(deployment, password_hash="")
    with deployment.database.writing() as session:
        row, _ = keys.add_key(session, "dr-a", label="", days=days, actor="x", now=1.0)
        if is_revoked:
            keys.revoke_key(session, row.id, actor="x", now=2.0)
    if is_enough:
        check(deployment, host="0.0.0.0")
    else:
        with pytest.raises(SettingsError, match="needs somebody who may log in"):
            check(deployment, host="0.0.0.0")


def test_a_disabled_user_is_nobody_who_may_log_in(deployment: Deployment) -> None:
    add_user(deployment)
    with deployment.database.writing() as session:
        users.disable_user(session, "dr-a", actor="x", now=2.0)
    with pytest.raises(SettingsError, match="needs somebody who may log in"):
        check(deployment, host="0.0.0.0")


def test_a_folder_that_had_users_is_never_open_again_by_mistake(deployment: Deployment) -> None:
    add_user(deployment)
    with deployment.database.writing() as session:
        users.disable_user(session, "dr-a", actor="x", now=2.0)
    assert required(deployment, host="127.0.0.1")
    assert not required(deployment, host="127.0.0.1", access="off")


def test_an_identity_provider_opens_other_addresses(deployment: Deployment) -> None:
    check(deployment, host="0.0.0.0", **ISSUER)
    assert required(deployment, **ISSUER)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"oidc_issuer": "http://id.example/realms/x"}, "expected an address with https"),
        ({"oidc_audience": ""}, "oidc_audience"),
    ],
)
def test_a_provider_that_cannot_be_trusted_is_refused(
    deployment: Deployment, change: dict[str, str], problem: str
) -> None:
    with pytest.raises(SettingsError, match=problem):
        check(deployment, host="0.0.0.0", **{**ISSUER, **change})


@pytest.mark.parametrize(
    "address",
    ["cac.hospital.example", "ftp://a.example", "https://a@b", "https://a/b", "https://a?b", "x"],
)
def test_a_public_address_of_which_no_other_can_be_made_is_refused(
    deployment: Deployment, address: str
) -> None:
    with pytest.raises(SettingsError, match="public_url"):
        check(deployment, host="127.0.0.1", public_url=address)


def test_the_secret_of_the_client_may_lie_in_a_file(deployment: Deployment, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    settings = deployment.settings.model_copy(update={"oidc_client_secret_file": path})
    with pytest.raises(SettingsError, match="expected a file with the secret"):
        mode.client_secret(settings)
    path.write_text("hush\n")
    assert mode.client_secret(settings) == "hush"
    both = settings.model_copy(update={"oidc_client_secret": SecretStr("hush")})
    with pytest.raises(SettingsError, match="not both"):
        mode.client_secret(both)
