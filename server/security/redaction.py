"""Logs without secrets: keys and tokens are replaced before a line is written."""

import logging
import re
from typing import Final

from app.access.secret_texts import SECRET_PATTERN

HIDDEN: Final = "<hidden>"

_KEY_PATH: Final = re.compile(r"(/k/)[^/\s\"'?]+")
"""A key in a path, also one that was mistyped."""

_BEARER: Final = re.compile(r"(bearer\s+)[A-Za-z0-9._~+/=-]+", re.IGNORECASE)

_JSON_WEB_TOKEN: Final = re.compile(r"eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")


def redact(text: str) -> str:
    """Return a text without the secrets in it."""
    text = SECRET_PATTERN.sub(HIDDEN, text)
    text = _KEY_PATH.sub(rf"\g<1>{HIDDEN}", text)
    text = _BEARER.sub(rf"\g<1>{HIDDEN}", text)
    return _JSON_WEB_TOKEN.sub(HIDDEN, text)


class RedactingFormatter(logging.Formatter):
    """Formats lines, tracebacks included, without the secrets in them."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        return redact(super().format(record))
