"""Which model answers ``/infer``, and the answers of those that need no worker."""

import time
from dataclasses import dataclass, replace

import numpy as np
from fastapi import Response
from fastapi.responses import JSONResponse
from numpy.typing import NDArray
from starlette.background import BackgroundTask

from app import images, sessions
from app.arrays import AxialImage, decode_image, find_image, keep_image
from app.calcium.labels import CALCIUM_LABELS
from app.clicks.answers import ClickAnswer, assign_lesions, fill_lesions
from app.clicks.arteries import predicted_labels
from app.errors import InvalidInputError
from app.imaging.orientation import from_axial
from app.store.tables import Json
from server.dependencies import Services
from server.flows import results
from server.flows.infer_answers import InferWish, infer_answer, latencies, mask_answer
from server.wire.catalog import CLICK_MODELS, CLICK_OPTIONS, FROM_PREDICTION, LESION_ASSIGN
from server.wire.clicks import read_artery, read_clicks, read_clicks_of_all
from server.wire.masks import encode_mask
from server.wire.options import JsonObject, read_options

_ANY_LESION = "lesion"
"""Name of a filled lesion where the client does not say which segment it fills."""


@dataclass(frozen=True)
class Target:
    """The image of a request; a session counts where there is one.

    Attributes:
        image_id: Id of an image of the pool, or empty.
        session_id: Session with an image of its own, or empty.
    """

    image_id: str
    session_id: str


def answer(
    services: Services, model: str, target: Target, wish: InferWish, *, now: float
) -> Response:
    """Answer a prediction of the network, or clicks.

    Raises:
        CacLabelError: As ``results.predict`` and ``click_answer``.
    """
    if model in CLICK_MODELS:
        return click_answer(services, model, target, wish, now=now)
    result = results.predict(
        services, image_id=target.image_id, session_id=target.session_id, now=now
    )
    return infer_answer(services, result, wish, now=now)


def click_answer(
    services: Services, model: str, target: Target, wish: InferWish, *, now: float
) -> Response:
    """Answer clicks from this process: no worker, no network.

    Raises:
        InvalidInputError: If the clicks cannot be read, no image was named, or the answer
            should be kept as a label.
        NotFoundError: If there is no such image or session.
        NotReadyError: If arteries are asked for before the network has seen the image.
    """
    started = time.monotonic()
    if wish.keep_as:
        raise InvalidInputError(f"the answers of {model} are not kept as labels; submit the label")
    image, keeping = _image(services, target, now=now)
    answering = _assign if model == LESION_ASSIGN else _fill
    found = answering(services, target, image, wish.given)
    seconds = time.monotonic() - started
    table: Json = {
        "label_names": dict(found.label_names),
        "latencies": latencies(infer_s=seconds, total_s=seconds),
        "centroids": {},
        **found.table,
    }
    as_json = wish.output == "json"
    reply = JSONResponse(table) if as_json else _rendered(image, found, table, wish)
    reply.background = keeping
    return reply


def _fill(services: Services, target: Target, image: AxialImage, given: JsonObject) -> ClickAnswer:
    # Refused before anything is looked for, so that no segment gets what it cannot hold.
    artery = read_artery(given)
    label = str(given.get("label") or _ANY_LESION)
    before = None
    if read_options(CLICK_OPTIONS, given)["start"] == FROM_PREDICTION:
        if artery is None:
            raise InvalidInputError("label: to start from the prediction, say of which artery")
        before = _predicted(services, target, image) == CALCIUM_LABELS[artery]
    clicks = read_clicks(given)
    return fill_lesions(image, clicks, services.settings, label=label, before=before)


def _assign(
    services: Services, target: Target, image: AxialImage, given: JsonObject
) -> ClickAnswer:
    predicted = _predicted(services, target, image)
    # A tool that sends foreground clicks takes one label back, that of its segment.
    only = read_artery(given) if "foreground" in given else None
    clicks = read_clicks_of_all(given)
    return assign_lesions(image, clicks, services.settings, predicted=predicted, only=only)


def _predicted(services: Services, target: Target, image: AxialImage) -> NDArray[np.uint8]:
    with services.database.reading() as session:
        return predicted_labels(
            session,
            services.files,
            image,
            image_id=target.image_id,
            session_id=target.session_id,
        )


def _rendered(image: AxialImage, found: ClickAnswer, table: Json, wish: InferWish) -> Response:
    # Almost all of it is zero: gzipped unless a client wants it raw, as OHIF does.
    mask = wish.mask if "result_compress" in wish.given else replace(wish.mask, compress=True)
    content = encode_mask(from_axial(found.mask, image.stored), image.stored, mask)
    return mask_answer(replace(wish, mask=mask), table, content)


def _image(
    services: Services, target: Target, *, now: float
) -> tuple[AxialImage, BackgroundTask | None]:
    """Open the image of a request; one that had to be decoded is kept once the answer is out."""
    if target.session_id:
        with services.database.writing() as session:
            sessions.touch(session, target.session_id, now=now)
            path = sessions.image_path(session, services.settings, target.session_id)
        return services.session_images.load(path), None
    if not target.image_id:
        raise InvalidInputError("name an image or a session, or send an image as file")
    with services.database.reading() as session:
        row = images.get_image(session, target.image_id)
    if (kept := find_image(services.settings, row)) is not None:
        return kept, None
    decoded = decode_image(services.settings, services.files, row)
    return decoded, BackgroundTask(keep_image, services.settings, row, decoded)
