"""A running application in a temporary folder, with a small pool when a test asks for one."""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.settings import Settings
from app.store.database import Database
from app.store.tables import Json
from server.dependencies import Services, open_services
from server.main import create_app
from tests.server.pool import image_bytes, label_bytes


@dataclass(frozen=True)
class Site:
    """An application and its client."""

    client: TestClient
    services: Services

    def upload(self, image_id: str, *, seed: int = 0) -> None:
        """Put an image into the pool."""
        files = {"file": (f"{image_id}.nii.gz", image_bytes(seed))}
        assert self.client.put(f"/datastore/?image={image_id}", files=files).status_code == 200

    def submit(self, image_id: str, *, tag: str = "", params: str = "{}") -> Mapping[str, object]:
        """Submit a label that fits the image."""
        files = {"label": ("label.nrrd", label_bytes())}
        url = f"/datastore/label?image={image_id}" + (f"&tag={tag}" if tag else "")
        answer = self.client.put(url, files=files, data={"params": params})
        assert answer.status_code == 200, answer.text
        body: Json = answer.json()
        return body

    def stats(self) -> Json:
        """Return the counts of the pool."""
        body: Json = self.client.get("/datastore/").json()
        return body


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a migrated database once; copying a file is faster than migrating."""
    path = tmp_path_factory.mktemp("database") / "caclabel.sqlite"
    database = Database(f"sqlite:///{path}")
    database.migrate()
    database.close()
    return path


@pytest.fixture
def settings(tmp_path: Path, empty_database: Path) -> Settings:
    data = tmp_path / "data"
    data.mkdir()
    shutil.copy(empty_database, data / "caclabel.sqlite")
    return Settings(data=data, infer_timeout_s=5.0)


@pytest.fixture(scope="session")
def application() -> FastAPI:
    """Build one application for all tests; its first request costs more than a test."""
    return create_app(Settings(data=Path("never-used")))


@pytest.fixture
def site(application: FastAPI, settings: Settings) -> Iterator[Site]:
    services = application.state.services = open_services(settings)
    with TestClient(application, raise_server_exceptions=False) as client:
        yield Site(client, services)


@pytest.fixture(scope="module")
def shared_client(
    tmp_path_factory: pytest.TempPathFactory, empty_database: Path
) -> Iterator[TestClient]:
    """Return one client for all tests of a module that change nothing."""
    data = tmp_path_factory.mktemp("data")
    shutil.copy(empty_database, data / "caclabel.sqlite")
    with TestClient(create_app(Settings(data=data)), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def client(site: Site) -> TestClient:
    return site.client


@pytest.fixture
def pool(site: Site) -> Site:
    """Return a site with the images case_1 and case_2."""
    site.upload("case_1", seed=1)
    site.upload("case_2", seed=2)
    return site
