"""Which model answers ``/infer``, and the answers of those that need no worker."""

import time
from dataclasses import dataclass, replace

from fastapi import Response
from fastapi.responses import JSONResponse

from app import images, sessions
from app.arrays import AxialImage, load_image
from app.clicks.answers import ClickAnswer, assign_lesions, fill_lesions
from app.clicks.arteries import predicted_labels
from app.clicks.session_images import load_session_image
from app.errors import InvalidInputError
from app.imaging.orientation import from_axial
from app.store.tables import Json
from server.dependencies import Services
from server.flows import results
from server.flows.infer_answers import InferWish, infer_answer, latencies, mask_answer
from server.wire.catalog import CLICK_MODELS, LESION_ASSIGN
from server.wire.clicks import read_artery, read_clicks, read_clicks_of_all
from server.wire.masks import encode_mask
from server.wire.options import JsonObject

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
    image = _image(services, target, now=now)
    if model == LESION_ASSIGN:
        found = _assign(services, target, image, wish.given)
    else:
        # Refused before anything is looked for, so that no segment gets what it cannot hold.
        artery = read_artery(wish.given)
        label = str(wish.given.get("label") or artery or _ANY_LESION)
        found = fill_lesions(image, read_clicks(wish.given), services.settings, label=label)
    seconds = time.monotonic() - started
    table: Json = {
        "label_names": dict(found.label_names),
        "latencies": latencies(infer_s=seconds, total_s=seconds),
        "centroids": {},
        **found.table,
    }
    if wish.output == "json":
        return JSONResponse(table)
    return _rendered(image, found, table, wish)


def _assign(
    services: Services, target: Target, image: AxialImage, given: JsonObject
) -> ClickAnswer:
    with services.database.reading() as session:
        predicted = predicted_labels(
            session,
            services.files,
            image,
            image_id=target.image_id,
            session_id=target.session_id,
        )
    # A tool that sends foreground clicks takes one label back, that of its segment.
    only = read_artery(given) if "foreground" in given else None
    clicks = read_clicks_of_all(given)
    return assign_lesions(image, clicks, services.settings, predicted=predicted, only=only)


def _rendered(image: AxialImage, found: ClickAnswer, table: Json, wish: InferWish) -> Response:
    # Almost all of it is zero: gzipped unless a client wants it raw, as OHIF does.
    mask = wish.mask if "result_compress" in wish.given else replace(wish.mask, compress=True)
    content = encode_mask(from_axial(found.mask, image.stored), image.stored, mask)
    return mask_answer(replace(wish, mask=mask), table, content)


def _image(services: Services, target: Target, *, now: float) -> AxialImage:
    if target.session_id:
        with services.database.writing() as session:
            sessions.touch(session, target.session_id, now=now)
            path = sessions.image_path(session, services.settings, target.session_id)
        return load_session_image(path)
    if not target.image_id:
        raise InvalidInputError("name an image or a session, or send an image as file")
    with services.database.reading() as session:
        row = images.get_image(session, target.image_id)
    return load_image(services.settings, services.files, row)
