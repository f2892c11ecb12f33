"""``/datastore/label``: labels of images, in versions and under tags."""

from typing import Annotated

from fastapi import APIRouter, Form, UploadFile
from fastapi.responses import FileResponse

from app import labels, preannotations
from app.store.tables import Json
from server.dependencies import DatabaseDep, FilesDep, Now, ReadSession, ServicesDep
from server.flows import downloads, submissions
from server.flows.heartbeats import NotedRequest
from server.flows.uploads import SingleFields
from server.wire.ids import ImageId
from server.wire.options import DEFAULT_CLIENT, read_object
from server.wire.scores import LabelOut, label_answer

router = APIRouter(prefix="/datastore", tags=["datastore: labels"], dependencies=[SingleFields])


@router.put("/label")
def save_label(
    services: ServicesDep,
    now: Now,
    image: ImageId,
    label: UploadFile,
    tag: str = "",
    params: Annotated[str, Form()] = "{}",
) -> LabelOut:
    """Submit a label; without a tag it is final and takes its image out of the pool."""
    given = read_object(params, "params")
    scores = submissions.submit(services, image, label, tag=tag or "final", params=given, now=now)
    return label_answer(image, scores)


@router.get("/label", response_class=FileResponse, dependencies=[NotedRequest])
def download_label(session: ReadSession, files: FilesDep, label: ImageId, tag: str) -> FileResponse:
    """Download the newest version of a label, with canonical names and values."""
    return downloads.label_answer(session, files, label, tag)


@router.head("/label")
def check_label(session: ReadSession, image: ImageId, tag: str) -> None:
    """Tell whether an image has a label."""
    preannotations.label_info(session, image, tag)


@router.delete("/label")
def remove_label(database: DatabaseDep, now: Now, id: ImageId, tag: str) -> Json:
    """Hide every version of a label; nothing happens when there is none."""
    with database.writing() as session:
        labels.delete_label(session, id, tag, actor=DEFAULT_CLIENT, now=now)
    return {}


@router.get("/label/info", dependencies=[NotedRequest])
def read_label_info(session: ReadSession, label: ImageId, tag: str) -> Json:
    """Return what is kept with a label."""
    return preannotations.label_info(session, label, tag)


@router.put("/label/info")
def replace_label_info(
    services: ServicesDep, now: Now, label: ImageId, tag: str, info: Annotated[str, Form()] = "{}"
) -> None:
    """Merge a JSON object into what is kept with a label."""
    submissions.review(services, label, tag, read_object(info, "info"), now=now)


@router.put("/updatelabelinfo")
def review_label(
    services: ServicesDep, now: Now, label: ImageId, tag: str, params: Annotated[str, Form()] = "{}"
) -> None:
    """Keep what a reviewer says about a label, as the reviewer module of 3D Slicer sends it."""
    submissions.review(services, label, tag, read_object(params, "params"), now=now)
