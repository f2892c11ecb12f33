"""Taking in what annotators send, in a transaction that begins after the upload has come."""

from pathlib import Path

from fastapi import UploadFile

from app import images, labels, model_versions, preannotations
from app.arrays import axial_image, keep_image
from app.intake import dicom_reference, submission
from app.intake.submission import Submission
from app.label_scores import LabelScores
from app.store.tables import ImageRow
from server.dependencies import Services
from server.flows.uploads import bare_name, read_label, received
from server.wire.options import JsonObject, client_of


def submit(
    services: Services,
    image_id: str,
    upload: UploadFile,
    *,
    tag: str,
    params: JsonObject,
    now: float,
) -> LabelScores:
    """Check a label against its image and score it, then keep it."""
    label = Submission(
        image_id=image_id,
        content=read_label(services.settings, upload),
        file_name=bare_name(upload),
        params=params,
        annotator=client_of(params),
        tag=tag,
    )
    _, scores = submission.submit(
        services.database, services.files, services.settings, label, now=now
    )
    return scores


def review(services: Services, image_id: str, tag: str, info: JsonObject, *, now: float) -> None:
    """Keep what a reviewer says about a label, also about a prediction shown as one."""
    with services.database.writing() as session:
        preannotations.keep(session, services.files, image_id, tag, now=now)
        actor = client_of(info)
        labels.update_label_info(session, image_id, tag, info, actor=actor, now=now)


def add_image(
    services: Services, image_id: str, upload: UploadFile, *, params: JsonObject, now: float
) -> ImageRow:
    """Check a volume, then take it into the pool; a DICOM slice only refers to one there."""
    with received(services.settings, [upload]) as [file]:
        if file.name.lower().endswith(dicom_reference.EXTENSION):
            return _keep_reference(services, file.path, client_of(params), now)
        checked = images.check_upload(
            services.files,
            services.settings,
            path=file.path,
            image_id=image_id or None,
            name=file.name,
            info=params,
            now=now,
            database=services.database,
        )
    with services.database.writing() as session:
        row = images.keep_upload(session, checked, now=now)
        model_versions.request_scoring(session, [row.id], now=now)
    # Whoever sends an image clicks in it next; it is decoded already.
    keep_image(services.settings, row, axial_image(checked.volume))
    return row


def _keep_reference(services: Services, path: Path, actor: str, now: float) -> ImageRow:
    with services.database.writing() as session:
        return dicom_reference.keep_reference(session, path, actor=actor, now=now)
