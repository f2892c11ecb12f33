"""Reading the form that ``/infer`` answers with: a JSON part and a file."""

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from app.errors import InvalidInputError

_BOUNDARY: Final = re.compile(r'boundary="?([^";]+)"?')
_NAME: Final = re.compile(r'\bname="([^"]*)"')
_FILE_NAME: Final = re.compile(r'\bfilename="([^"]*)"')


@dataclass(frozen=True)
class FormAnswer:
    """The two parts of the answer.

    Attributes:
        params: The JSON object.
        file_name: Name of the file.
        content: Bytes of the file.
    """

    params: dict[str, Any]
    file_name: str
    content: bytes


def read_form(content_type: str, body: bytes) -> FormAnswer:
    """Take a form apart.

    Args:
        content_type: Header that names the boundary of the parts.
        body: The whole body.

    Raises:
        InvalidInputError: If a part is missing.
    """
    boundary = _BOUNDARY.search(content_type)
    if boundary is None:
        raise InvalidInputError(f"expected a form of several parts, got {content_type!r}")
    params: dict[str, Any] | None = None
    file: tuple[str, bytes] | None = None
    for part in body.split(f"--{boundary[1]}".encode())[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        header, content = head.decode("ascii", "replace"), content.removesuffix(b"\r\n")
        name, file_name = _NAME.search(header), _FILE_NAME.search(header)
        if file_name is not None:
            file = file_name[1], content
        elif name is not None and name[1] == "params":
            params = json.loads(content)
    if params is None or file is None:
        raise InvalidInputError("expected a form with params and a file")
    return FormAnswer(params, *file)
