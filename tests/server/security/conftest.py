"""A server on which people have to log in, with one of each role."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.access import keys, users
from app.access.roles import Role
from app.settings import Settings
from app.store.tables import AuditRow
from server.dependencies import Services, open_services
from server.main import create_app
from server.security.guard import Guard
from tests.app.access.hashing import QuickHasher
from tests.app.access.identity_provider import (
    AUDIENCE,
    CLIENT,
    SECRET,
    IdentityProvider,
    providing,
)

PASSWORD = "correct horse battery staple"


@dataclass(frozen=True)
class GuardedSite:
    """An application on which people have to log in.

    Attributes:
        client: Way to it; shows nothing by itself.
        services: What the application has.
        hasher: Hashes the passwords.
        keys: A key of each role; its user is called as the role is.
    """

    client: TestClient
    services: Services
    hasher: QuickHasher
    keys: Mapping[Role, str]

    def as_role(self, role: Role) -> dict[str, str]:
        """Return the headers of somebody with a role."""
        return {"Authorization": f"Bearer {self.keys[role]}"}

    def changes(self, action: str) -> list[AuditRow]:
        """Return what the trail says of an action, newest first."""
        with self.services.database.reading() as session:
            rows = session.query(AuditRow).order_by(AuditRow.id.desc())
            return [row for row in rows if row.action == action]


@pytest.fixture(scope="session")
def guarded_application() -> FastAPI:
    return create_app(Settings(access="on"))


@pytest.fixture
def guarded(guarded_application: FastAPI, settings: Settings) -> Iterator[GuardedSite]:
    with guarding(guarded_application, settings) as site:
        yield site


@pytest.fixture(scope="module")
def shared_guarded(
    guarded_application: FastAPI, tmp_path_factory: pytest.TempPathFactory, empty_database: Path
) -> Iterator[GuardedSite]:
    """One site for all tests of a module that do not mind what the others did."""
    data = tmp_path_factory.mktemp("data")
    shutil.copy(empty_database, data / "caclabel.sqlite")
    with guarding(guarded_application, Settings(data=data)) as site:
        yield site


@contextmanager
def guarding(application: FastAPI, settings: Settings, **changes: object) -> Iterator[GuardedSite]:
    """Open a site; rates are as good as none unless ``changes`` say otherwise."""
    chosen = {"access": "on", "login_rate": 0, "upload_rate": 0, **changes}
    opened = open_services(settings.model_copy(update=chosen))
    hasher = QuickHasher()
    guard = Guard(opened.settings, opened.database, hasher=hasher)
    services = application.state.services = replace(opened, guard=guard)
    with TestClient(application, raise_server_exceptions=False) as client:
        yield GuardedSite(client, services, hasher, add_people(services, hasher))


def add_people(services: Services, hasher: QuickHasher) -> dict[Role, str]:
    """Add a user of each role, with the password of this module; returns a key of each."""
    given = {}
    with services.database.writing() as session:
        for role in Role:
            users.add_user(
                session,
                str(role),
                role,
                password_hash=hasher.hash(PASSWORD),
                actor="setup",
                now=1.0,
            )
            _, given[role] = keys.add_key(session, str(role), label="", actor="setup", now=1.0)
    return given


@pytest.fixture(scope="module")
def shared_issuer() -> Iterator[IdentityProvider]:
    with providing() as provider:
        yield provider


@pytest.fixture
def issuer(shared_issuer: IdentityProvider) -> Iterator[IdentityProvider]:
    yield shared_issuer
    shared_issuer.is_up = True
    for changes in (
        shared_issuer.id_claims,
        shared_issuer.access_claims,
        shared_issuer.abilities,
        shared_issuer.sent,
    ):
        changes.clear()


@contextmanager
def trusting(
    application: FastAPI, settings: Settings, issuer: IdentityProvider, **changes: object
) -> Iterator[GuardedSite]:
    given = {
        "oidc_issuer": issuer.issuer,
        "oidc_audience": AUDIENCE,
        "oidc_client_id": CLIENT,
        "oidc_client_secret": Settings(oidc_client_secret=SECRET).oidc_client_secret,
        "oidc_label": "the hospital",
        **changes,
    }
    with guarding(application, settings, **given) as opened:
        yield opened


@pytest.fixture
def site(
    guarded_application: FastAPI, settings: Settings, issuer: IdentityProvider
) -> Iterator[GuardedSite]:
    with trusting(guarded_application, settings, issuer) as opened:
        yield opened
