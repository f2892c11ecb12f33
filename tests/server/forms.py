"""Reading the answer of ``/infer`` with the parser of the stock client."""

import io
import warnings
from email.message import Message

from httpx2 import Response

with warnings.catch_warnings():
    # The stock client uses it; Python 3.13 has no longer got it.
    warnings.simplefilter("ignore", DeprecationWarning)
    import cgi


def read_form(answer: Response) -> tuple[dict[str, str], dict[str, bytes]]:
    """Return the fields by name and the files by file name, as ``MONAILabelClient`` does."""
    headers = Message()
    for name in ("content-type", "content-length"):
        headers[name] = answer.headers[name]
    form = cgi.FieldStorage(
        fp=io.BytesIO(answer.content),
        environ={"REQUEST_METHOD": "POST"},
        headers=headers,
        keep_blank_values=True,
    )
    files = {part.filename: part.value for part in form.list or [] if part.filename}
    fields = {part.name: part.value for part in form.list or [] if not part.filename}
    return fields, files
