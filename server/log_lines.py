"""One line of the log for one event, whatever is in it.

A name that a client chose may hold line ends and commands for terminals. Each event begins at
the start of a line and nothing else does: what follows it, such as a traceback, is marked.
"""

import logging
import re
from pathlib import Path
from typing import Final

from server.security.redaction import RedactingFormatter

_MARK: Final = "    | "
"""Start of lines that belong to the event above them."""

_PATH: Final = re.compile(r"(?<![\w:/.~-])/(?:[^\s/'\"<>:,;]+/)+(?=[^\s/'\"<>:,;]*)")
"""The folders of an absolute path; what comes after a host is none."""


class LineFormatter(RedactingFormatter):
    """Formats events so that none can look like another one, without secrets."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line of an event, with everything escaped that cannot be printed."""
        return escaped(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of an event and marked lines of its traceback."""
        first, *others = super().format(record).split("\n")
        return "\n".join([first, *(_MARK + escaped(line) for line in others)])


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
