"""The endpoints of the application as a list for people."""

from dataclasses import dataclass

from fastapi import FastAPI


@dataclass(frozen=True)
class Endpoint:
    """One endpoint: method, path and what it does."""

    method: str
    path: str
    summary: str


def endpoints_by_tag(application: FastAPI) -> dict[str, list[Endpoint]]:
    """Return the endpoints under their tags, in the order of the OpenAPI description."""
    groups: dict[str, list[Endpoint]] = {}
    for path, operations in application.openapi()["paths"].items():
        for method, operation in operations.items():
            endpoint = Endpoint(method.upper(), path, operation.get("description", ""))
            groups.setdefault(operation["tags"][0], []).append(endpoint)
    return groups
