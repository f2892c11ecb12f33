"""Answers of ``/infer``: the mask, the calcium table, or both in one form."""

from dataclasses import dataclass
from typing import Final, Literal

from fastapi import HTTPException, Response
from fastapi.responses import JSONResponse
from pydantic import JsonValue

from app import audit, labels
from app.access.identity import acting
from app.access.roles import Role
from app.calcium.labels import LABELS
from app.errors import InvalidInputError
from app.store.tables import Json
from server.dependencies import Services
from server.flows.results import Result
from server.wire.catalog import HUMAN_TAG, MODEL, PREDICTION_TAG
from server.wire.masks import MaskFormat, mask_name, read_mask_format, render_mask
from server.wire.multipart import file_headers, form_answer
from server.wire.options import JsonObject, Options, client_of, read_object, read_options

Output = Literal["all", "image", "json"]
"""What a client wants back: the form of both, the mask alone, or the table alone."""

_STORED_EXTENSION: Final = ".nrrd"

_KEEP_OPTIONS: Final[Options] = {"save_label": False, "label_tag": PREDICTION_TAG}


@dataclass(frozen=True)
class InferWish:
    """How a client wants its answer.

    Attributes:
        output: The parts of the answer.
        mask: Format of the mask.
        keep_as: Tag under which the prediction is kept as a label; empty: it is not kept.
        given: Everything that the client said.
    """

    output: Output
    mask: MaskFormat
    keep_as: str
    given: JsonObject


def read_wish(params: str, output: Output) -> InferWish:
    """Read the form field ``params``; what is no known option is left out.

    Raises:
        InvalidInputError: If the field is no JSON object or an option cannot be read.
        HTTPException: 403, if who asks may look at predictions and not keep them.
    """
    given = read_object(params, "params")
    options = read_options(_KEEP_OPTIONS, given)
    keep_as = _kept_tag(options["label_tag"]) if options["save_label"] else ""
    return InferWish(output, read_mask_format(given), keep_as, given)


def _kept_tag(wanted: JsonValue) -> str:
    identity = acting()
    if identity is not None and not (identity.role and identity.role.includes(Role.ANNOTATOR)):
        # The route is for everybody who may look; what stays is an annotator's, as by /scoring.
        raise HTTPException(403, f'Role "{Role.ANNOTATOR}" is required to keep a prediction')
    return prediction_tag(wanted)


def prediction_tag(wanted: JsonValue) -> str:
    """Return the tag predictions are kept under.

    Raises:
        InvalidInputError: If it is the tag of the labels of people.
    """
    tag = str(wanted or PREDICTION_TAG)
    if tag == HUMAN_TAG:
        raise InvalidInputError(f"predictions cannot be saved as {tag!r}, the labels of people")
    return tag


def infer_answer(services: Services, result: Result, wish: InferWish, *, now: float) -> Response:
    """Answer a prediction the way the client wants it."""
    table = _params(result, wish.mask)
    if wish.keep_as and result.image_id:
        _keep(services, result, wish, table, now=now)
    if wish.output == "json":
        return JSONResponse(table)
    stored = services.files.path(result.sha256, _STORED_EXTENSION)
    return mask_answer(wish, table, render_mask(stored, wish.mask))


def mask_answer(wish: InferWish, table: Json, content: bytes) -> Response:
    """Answer a mask alone, or with its table in one form."""
    name = mask_name(wish.mask)
    if wish.output == "image":
        headers = file_headers(name)
        return Response(content, media_type="application/octet-stream", headers=headers)
    return form_answer(table, content, name)


def _keep(services: Services, result: Result, wish: InferWish, table: Json, *, now: float) -> None:
    tag, client = wish.keep_as, client_of(wish.given)
    with services.database.writing() as session:
        before = labels.find_label(session, result.image_id, tag)
        kept = labels.keep_prediction(
            session,
            services.files,
            image_id=result.image_id,
            tag=tag,
            sha256=result.sha256,
            # The kept label map is the canonical one, whatever the client asked for.
            info={"model": MODEL, "params": {**table, "label_names": dict(LABELS)}},
            now=now,
        )
        if kept is not before:
            change: Json = {"tag": tag, "version": kept.version, "sha256": kept.sha256}
            audit.record(session, client, "keep prediction", result.image_id, change, now=now)


def _params(result: Result, mask: MaskFormat) -> Json:
    return {
        "label_names": mask.label_names,
        "latencies": latencies(infer_s=result.infer_s, total_s=result.total_s),
        "centroids": {},
        "calcium": result.calcium,
    }


def latencies(*, infer_s: float, total_s: float) -> Json:
    """Return how long an answer took, under the names that clients know."""
    return {
        "pre": 0.0,
        "infer": round(infer_s, 3),
        "invert": 0.0,
        "post": 0.0,
        "write": 0.0,
        "total": round(total_s, 3),
        "transform": {},
    }
