"""The OHIF viewer as it is served."""

import importlib.util
import sys
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.settings import Settings
from server.dependencies import open_services
from tests.server.conftest import Site


@pytest.fixture
def viewer(site: Site, settings: Settings, tmp_path: Path) -> TestClient:
    """Return the client of a server that serves a small build."""
    folder = tmp_path / "ohif"
    (folder / "assets").mkdir(parents=True)
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "index.html").write_text(
        '<html><link href="https://fonts.example/css" rel="stylesheet"><link href="/ohif/a.css">'
    )
    (folder / "app-config.js").write_text("window.config = 'of the build'")
    (folder / "app.bundle.css").write_text("@import url(https://fonts.example/css2?a=b);\nb{}")
    (folder / "12.bundle.0123456789abcdef0123.js").write_text("1")
    (folder / "0123456789abcdef0123.wasm").write_bytes(b"\0asm")
    (folder / "assets" / "icon.png").write_bytes(b"png")
    (folder / "manifest.json").write_text('{"src": "/assets/icon.png"}')
    chosen = settings.model_copy(update={"ohif": folder})
    services = open_services(chosen)
    services.guard.start()
    site.client.app.state.services = services  # type: ignore[attr-defined]  # FastAPI
    return site.client


@pytest.mark.parametrize(
    "path", ["/ohif/", "/ohif/monai-label?StudyInstanceUIDs=1.2", "/ohif/a/b", "/ohif/viewer/1.2.3"]
)
def test_pages_of_the_viewer_are_its_index_without_foreign_fonts(
    viewer: TestClient, path: str
) -> None:
    answer = viewer.get(path)
    assert answer.text == '<html><link href="/ohif/a.css">'
    assert answer.headers["cache-control"] == "no-cache"
    assert "default-src 'self'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("path", "media_type", "is_kept"),
    [
        ("12.bundle.0123456789abcdef0123.js", "text/javascript", True),
        ("0123456789abcdef0123.wasm", "application/wasm", True),
        ("assets/icon.png", "image/png", False),
        ("app.bundle.css", "text/css", False),
    ],
)
def test_files_have_their_type_and_those_with_a_hash_are_kept_for_good(
    viewer: TestClient, path: str, media_type: str, *, is_kept: bool
) -> None:
    answer = viewer.get(f"/ohif/{path}")
    assert answer.status_code == 200
    assert answer.headers["content-type"].partition(";")[0] == media_type
    assert ("immutable" in answer.headers["cache-control"]) == is_kept


def test_style_sheets_import_nothing_from_elsewhere(viewer: TestClient) -> None:
    assert viewer.get("/ohif/app.bundle.css").text == "\nb{}"


def test_icons_are_found_below_the_viewer(viewer: TestClient) -> None:
    assert viewer.get("/ohif/manifest.json").json() == {"src": "/ohif/assets/icon.png"}


def test_the_configuration_is_ours(viewer: TestClient) -> None:
    answer = viewer.get("/ohif/app-config.js")
    assert "/proxy/dicom/qido" in answer.text
    assert "https://" not in answer.text
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "path",
    ["absent.js", "..%2fsecret.txt", "assets/..%2f..%2fsecret.txt", "%2e%2e/secret.txt"],
)
def test_what_is_not_in_the_build_is_not_found(viewer: TestClient, path: str) -> None:
    answer = viewer.get(f"/ohif/{path}")
    assert answer.status_code == 404
    assert "secret" not in answer.text


def test_a_name_with_nul_is_refused(viewer: TestClient) -> None:
    assert viewer.get("/ohif/a%00.js").status_code == 400


def test_a_link_out_of_the_build_is_not_followed(viewer: TestClient, tmp_path: Path) -> None:
    (tmp_path / "ohif" / "link.txt").symlink_to(tmp_path / "secret.txt")
    assert viewer.get("/ohif/link.txt").status_code == 404


def test_without_a_build_a_page_says_what_to_install(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    # None there is how Python notes a module that cannot be imported.
    monkeypatch.setitem(sys.modules, "monailabel", None)
    answer = site.client.get("/ohif/")
    assert answer.status_code == 503
    assert "pip install --no-deps monailabel==0.8.5" in answer.text


def test_a_folder_without_a_build_is_said_to_be_one(
    site: Site, settings: Settings, tmp_path: Path
) -> None:
    chosen = settings.model_copy(update={"ohif": tmp_path})
    services = open_services(chosen)
    services.guard.start()
    site.client.app.state.services = services  # type: ignore[attr-defined]  # FastAPI
    answer = site.client.get("/ohif/")
    assert answer.status_code == 503
    assert "CACLABEL_OHIF" in answer.text
    assert str(tmp_path) not in answer.text


def test_the_build_of_the_package_is_found_without_importing_it(site: Site) -> None:
    if importlib.util.find_spec("monailabel") is None:
        pytest.skip("monailabel is not installed; pip install --no-deps monailabel==0.8.5")
    before = "monailabel" in sys.modules
    assert site.client.get("/ohif/").status_code == 200
    assert ("monailabel" in sys.modules) == before
