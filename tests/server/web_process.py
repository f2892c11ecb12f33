"""A web process that answers some requests; fails when it has imported a network."""

import sys
from pathlib import Path

from fastapi.testclient import TestClient

from app.settings import Settings
from server.main import create_app

HEAVY = {"torch", "monai", "models", "dbos"}
"""Packages of the worker; importing torch alone takes seconds and 200 MB."""


def main(data: Path) -> None:
    """Ask for what the clients ask most, in a data folder with one predicted image."""
    with TestClient(create_app(Settings(data=data))) as client:
        for method, path in (
            ("GET", "/info/"),
            ("POST", "/activelearning/uncertainty"),
            ("POST", "/infer/calcium?image=case_1"),
            ("POST", "/infer/lesion_assign?image=case_1"),
            ("GET", "/datastore/?output=all"),
            ("GET", "/datastore/image?image=case_1"),
        ):
            sys.stdout.write(f"{client.request(method, path).status_code}\n")
    imported = {name.split(".")[0] for name in sys.modules} & HEAVY
    if imported:
        sys.exit(f"the web process has imported {', '.join(sorted(imported))}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
