"""``/proxy/dicom``: DICOMweb for viewers, by a PACS or by this server itself.

The roots ``qido``, ``wado`` and ``stow`` are one and the same, and the same as ``/proxy/dicom``
itself, which other builds of OHIF are configured with: OHIF stores to its WADO root.
"""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request, Response

from server.dependencies import Now, ServicesDep
from server.dicomweb import retrieving, storing
from server.dicomweb.opening import note_opened
from server.dicomweb.paths import Resource, parse_path

router = APIRouter(prefix="/proxy/dicom", tags=["viewer"])

Root = Literal["qido", "wado", "stow"]


def _resource(request: Request, path: str) -> Resource:
    return parse_path(path, request.scope["raw_path"])


async def _body(request: Request) -> bytes:
    return await request.body()


ResourceDep = Annotated[Resource, Depends(_resource)]
BodyDep = Annotated[bytes, Depends(_body)]


def _plain_resource(request: Request) -> Resource:
    path = request.scope["path"].partition(f"{router.prefix}/")[2]
    return parse_path(path, request.scope["raw_path"])


@router.api_route("/studies", methods=["GET", "HEAD"], include_in_schema=False)
@router.api_route("/studies/{path:path}", methods=["GET", "HEAD"], include_in_schema=False)
@router.api_route("/series", methods=["GET", "HEAD"], include_in_schema=False)
@router.api_route("/instances", methods=["GET", "HEAD"], include_in_schema=False)
def retrieve_plain(
    services: ServicesDep,
    request: Request,
    resource: Annotated[Resource, Depends(_plain_resource)],
) -> Response:
    """Search and retrieve below the root that has no name."""
    return retrieving.retrieve(services, request, resource)


@router.head("/{root}/{path:path}", include_in_schema=False)
@router.get("/{root}/{path:path}", response_class=Response)
def retrieve(
    services: ServicesDep, request: Request, now: Now, root: Root, resource: ResourceDep
) -> Response:
    """Search and retrieve by QIDO-RS and WADO-RS."""
    note_opened(services, resource, now=now)
    return retrieving.retrieve(services, request, resource)


@router.post("/studies", include_in_schema=False)
@router.post("/studies/{study_uid}", include_in_schema=False)
def store_plain(
    services: ServicesDep, request: Request, now: Now, body: BodyDep, study_uid: str | None = None
) -> Response:
    """Store below the root that has no name."""
    content_type = request.headers.get("content-type", "")
    return storing.store(services, content_type, body, study_uid, now=now)


@router.post("/{root}/studies", response_class=Response)
@router.post("/{root}/studies/{study_uid}", response_class=Response)
def store(
    services: ServicesDep,
    request: Request,
    now: Now,
    root: Root,
    body: BodyDep,
    study_uid: str | None = None,
) -> Response:
    """Store by STOW-RS; a segmentation of an image of the pool becomes its final label."""
    content_type = request.headers.get("content-type", "")
    return storing.store(services, content_type, body, study_uid, now=now)
