"""The answer of ``/infer`` as 3D Slicer's client reads it: a form of a JSON part and a file."""

import json
import re
import secrets
from typing import Final

from fastapi import Response

from app.store.tables import Json

_BOUNDARY_BYTES: Final = 16
"""Random bytes of a boundary: no file holds it by chance."""

_NOT_PLAIN: Final = re.compile(r'[^ -~]|["\\]')
"""Characters that cannot stand in a quoted name: control, beyond ASCII, quote, backslash."""


def form_answer(params: Json, content: bytes, file_name: str) -> Response:
    """Answer with the two parts ``params`` and ``image``.

    The body is sent whole, with its length: the client hands the raw socket to a form parser
    that knows nothing of chunks. ``file_name`` must be a bare ASCII name with an extension,
    because the client joins it to a folder unchecked and loads the file by its extension.
    """
    boundary = secrets.token_hex(_BOUNDARY_BYTES)
    head = (
        f"--{boundary}\r\n"
        'Content-Disposition: form-data; name="params"\r\n'
        "Content-Type: application/json\r\n\r\n"
        f"{json.dumps(params, allow_nan=False)}\r\n"
        f"--{boundary}\r\n"
        f'Content-Disposition: form-data; name="image"; filename="{file_name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    body = b"".join([head.encode(), content, f"\r\n--{boundary}--\r\n".encode()])
    return Response(body, media_type=f"multipart/form-data; boundary={boundary}")


def file_headers(file_name: str) -> dict[str, str]:
    """Return the header that names a downloaded file, in the spelling every client reads."""
    plain_name = _NOT_PLAIN.sub("_", file_name)
    return {"Content-Disposition": f'attachment; filename="{plain_name}"'}
