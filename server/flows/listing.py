"""Everything in the pool as one answer, however much it is."""

import json
from collections.abc import Iterator
from typing import Any, Final

from fastapi.responses import Response
from sqlalchemy.orm import Session

from app import datastore, preannotations

_HEADER: Final = {
    "name": "caclabel",
    "description": "Coronary calcium CT",
    "images_dir": ".",
    "labels_dir": "labels",
}


def overview_answer(session: Session) -> Response:
    """Answer with the whole datastore in the shape of MONAI Label's ``datastore_v2.json``.

    The text is put together from pieces, so that only one of them is held as dictionaries, which
    take sixteen times as much.

    Args:
        session: Open transaction; reading is enough.
    """
    return Response(b"".join(_pieces(session)), media_type="application/json")


def _pieces(session: Session) -> Iterator[bytes]:
    yield _text(_HEADER)[:-1] + b',"objects":{'
    separator = b""
    for entries in datastore.overview(session):
        yield separator + _text(preannotations.add_predictions(session, entries))[1:-1]
        separator = b","
    yield b"}}"


def _text(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
