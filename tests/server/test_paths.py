"""Paths: both spellings of each, never a redirect, and all of them in the description."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.settings import Settings
from server.commands.openapi import snapshot
from server.main import create_app

_SNAPSHOT = Path(__file__).with_name("openapi.json")

_OPERATIONS = [
    (method, path)
    for path, operations in create_app(Settings(data=Path("data"))).openapi()["paths"].items()
    for method in operations
]


@pytest.mark.parametrize(("method", "path"), _OPERATIONS)
def test_both_spellings_of_a_path_answer_alike(
    method: str, path: str, shared_client: TestClient
) -> None:
    filled = path.replace("{model}", "calcium").replace("{strategy}", "first")
    filled = filled.replace("{method}", "nope").replace("{session_id}", "nope")
    plain, slashed = (
        shared_client.request(method, spelling, follow_redirects=False).status_code
        for spelling in (filled, filled.rstrip("/") + "/")
    )
    assert plain == slashed
    assert plain not in {301, 302, 307, 308, 405}
    assert plain == 200 or 400 <= plain < 500 or plain == 503


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/info/"),
        ("GET", "/auth/"),
        ("GET", "/datastore/"),
        ("GET", "/datastore/?output=all"),
        ("DELETE", "/train/"),
        ("POST", "/activelearning/random"),
        ("GET", "/docs"),
        ("GET", "/openapi.json"),
        ("GET", "/health"),
        ("GET", "/quarantine"),
    ],
)
def test_the_exact_paths_of_the_clients_answer_200(
    method: str, path: str, shared_client: TestClient
) -> None:
    assert shared_client.request(method, path, follow_redirects=False).status_code == 200


def test_interface_is_the_reviewed_one() -> None:
    assert snapshot() == _SNAPSHOT.read_text(encoding="utf-8"), "run `make openapi` and review"
