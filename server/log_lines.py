"""One line of the log for one event, whatever is in it.

A name that a client chose may hold line ends and commands for terminals. Each event begins at
the start of a line and nothing else does: what follows it, such as a traceback, is marked. As
JSON an event is one line with all that belongs to it.
"""

import json
import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from app.tracing import current_trace
from server.security.redaction import RedactingFormatter, redact

_MARK: Final = "    | "
"""Start of lines that belong to the event above them."""

_PATH: Final = re.compile(r"(?<![\w:/.~-])/(?:[^\s/'\"<>:,;]+/)+(?=[^\s/'\"<>:,;]*)")
"""The folders of an absolute path; what comes after a host is none."""


FIELDS: Final = "fields"
"""Attribute of a record with what a JSON line tells beside the message."""


class LineFormatter(RedactingFormatter):
    """Formats events so that none can look like another one, without secrets."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line of an event, with everything escaped that cannot be printed."""
        trace = current_trace()
        record.trace = " ".join(filter(None, (trace.request_id, trace.job_id))) or "-"
        return escaped(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of an event and marked lines of its traceback."""
        first, *others = super().format(record).split("\n")
        return "\n".join([first, *(_MARK + escaped(line) for line in others)])


class JsonFormatter(logging.Formatter):
    """Formats events as JSON objects, one a line, without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the object of an event."""
        trace = current_trace()
        line: dict[str, object] = {
            "time": _utc(record.created),
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
            "request_id": trace.request_id,
            "job_id": trace.job_id,
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        # Half characters and commands for terminals are escaped with everything beyond ASCII.
        return json.dumps({name: _without_secrets(value) for name, value in line.items()})


def _fields(record: logging.LogRecord) -> Mapping[str, object]:
    fields: Mapping[str, object] = getattr(record, FIELDS, {})
    return fields


def _without_secrets(value: object) -> object:
    return redact(value) if isinstance(value, str) else value


def _utc(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return moment.replace("+00:00", "Z")


def escaped(text: str) -> str:
    """Return a text with line ends, control characters and half characters as escapes."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def without_paths(text: str, *folders: Path) -> str:
    """Return a text without the folders of this machine; the names of files stay.

    Args:
        text: Any text.
        folders: Folders whose names may have blanks, by which no path is known.
    """
    if "/" not in text:
        return text
    for folder in folders:
        text = text.replace(f"{folder.resolve()}/", "…/")
    tops = {entry.name for entry in Path("/").iterdir()}
    # Addresses of our own routes look like paths, too.
    return _PATH.sub(lambda found: "…/" if found[0].split("/")[1] in tops else found[0], text)
