"""Files that clients send, on disk under their own safe names."""

import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

from fastapi import Depends, HTTPException, Request, UploadFile

from app import images
from app.errors import InvalidInputError
from app.sessions import UploadedFile
from app.settings import Settings
from server.middleware import FORM, content_type, has_body, may_have_body

_CHUNK_BYTES: Final = 1 << 20

_SEVERAL: Final = "files"
"""The one field that there may be several of: the files of a series."""

_FORMS: Final = frozenset({FORM, "application/x-www-form-urlencoded"})
"""Types of bodies that have fields."""

_SEPARATORS: Final = re.compile(r"[/\\]")
"""Separators of folders; clients send the whole path of the file on their own machine."""


def bare_name(upload: UploadFile) -> str:
    """Return the file's name without the folders of the client's machine, as it can be printed."""
    name = _SEPARATORS.split(upload.filename or "")[-1]
    return "".join(each for each in name if each.isprintable())


def read_label(settings: Settings, upload: UploadFile) -> bytes:
    """Return the content of a label, which is checked in memory.

    Raises:
        HTTPException: 413, if it is larger than a label may be.
    """
    limit = settings.label_limit_mb << 20
    content = upload.file.read(limit + 1)
    if len(content) > limit:
        raise HTTPException(413, f"the label is larger than {settings.label_limit_mb} MB")
    return content


async def _check_single(request: Request) -> None:
    """Refuse what would be passed over without a word: other bodies, and a field a second time.

    Raises:
        HTTPException: 415, if the body is no form.
        InvalidInputError: If a form has a field twice.
    """
    if not may_have_body(request.method):
        return
    if has_body(request.method, request.headers) and content_type(request.headers) not in _FORMS:
        raise HTTPException(415, "expected the fields of a form (multipart/form-data)")
    form = await request.form()
    for name in form:
        if name != _SEVERAL and len(form.getlist(name)) > 1:
            raise InvalidInputError(f"{name[:40]}: expected one of it in the form, got several")


SingleFields = Depends(_check_single)
"""Makes a route refuse bodies that are no form, and fields that come twice; parsed once in all."""


@contextmanager
def received(settings: Settings, uploads: Sequence[UploadFile]) -> Iterator[list[UploadedFile]]:
    """Write uploads to files that are gone after the block, unless it has moved them."""
    with ExitStack() as stack:
        yield [stack.enter_context(_received(settings, upload)) for upload in uploads]


@contextmanager
def _received(settings: Settings, upload: UploadFile) -> Iterator[UploadedFile]:
    name = bare_name(upload)
    path = images.incoming_folder(settings) / secrets.token_hex(8)
    try:
        with path.open("wb") as file:
            shutil.copyfileobj(upload.file, file, _CHUNK_BYTES)
        yield UploadedFile(name, path)
    finally:
        path.unlink(missing_ok=True)
