"""``/datastore/image``: images of the pool."""

from typing import Annotated

from fastapi import APIRouter, Form, UploadFile
from fastapi.responses import FileResponse

from app import datastore, images
from app.store.tables import Json
from server.dependencies import DatabaseDep, Now, ReadSession, ServicesDep
from server.flows import downloads, submissions
from server.flows.heartbeats import NotedRequest
from server.flows.uploads import SingleFields
from server.wire.ids import ImageId
from server.wire.options import DEFAULT_CLIENT, client_of, read_object
from server.wire.schemas import ImageOut

router = APIRouter(prefix="/datastore", tags=["datastore: images"], dependencies=[SingleFields])


@router.put("")
@router.put("/image")
def add_image(
    services: ServicesDep,
    now: Now,
    file: UploadFile,
    image: ImageId = "",
    params: Annotated[str, Form()] = "{}",
) -> ImageOut:
    """Take an uploaded volume into the pool; the id is the file name unless one is given."""
    given = read_object(params, "params")
    row = submissions.add_image(services, image, file, params=given, now=now)
    return ImageOut(image=row.id)


@router.delete("")
@router.delete("/image")
def remove_image(database: DatabaseDep, now: Now, id: ImageId) -> Json:
    """Take an image out of the pool; its file and labels are kept."""
    with database.writing() as session:
        images.remove_image(session, id, actor=DEFAULT_CLIENT, now=now)
    return {}


@router.get("/image", response_class=FileResponse, dependencies=[NotedRequest])
def download_image(services: ServicesDep, now: Now, image: ImageId) -> FileResponse:
    """Download the image as one file."""
    return downloads.image_answer(services, image, now=now)


@router.head("/image")
def check_image(services: ServicesDep, image: ImageId, check_sum: str = "") -> None:
    """Tell whether the image is there (and has the checksum ``SHA256:<hex>``)."""
    downloads.check_image(services, image, check_sum)


@router.get("/image/info", dependencies=[NotedRequest])
def read_image_info(session: ReadSession, image: ImageId) -> Json:
    """Return what is kept with an image."""
    return datastore.image_info(images.get_image(session, image))


@router.put("/image/info")
def update_image_info(
    database: DatabaseDep, now: Now, image: ImageId, info: Annotated[str, Form()] = "{}"
) -> None:
    """Merge a JSON object into what is kept with an image."""
    given = read_object(info, "info")
    with database.writing() as session:
        images.update_image_info(session, image, given, actor=client_of(given), now=now)
