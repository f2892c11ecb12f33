"""How long a server computed: what a busy machine does not stretch as it does the time waited."""

import os
from pathlib import Path
from typing import Final

_PROCESSES: Final = Path("/proc")
"""Where Linux tells of every process."""

_SESSION, _USER, _SYSTEM = 3, 11, 12
"""Places of session and of user and system time in a ``stat``, after the name."""


def processor_seconds(session: int) -> float | None:
    """Return the processor time of all processes of a session; None where nobody tells.

    Args:
        session: Id of the process that leads it.
    """
    if not _PROCESSES.is_dir():
        return None
    ticks = 0
    for path in _PROCESSES.glob("[0-9]*/stat"):
        try:
            # The name may hold anything, also a parenthesis: what follows the last one counts.
            facts = path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if int(facts[_SESSION]) == session:
            ticks += int(facts[_USER]) + int(facts[_SYSTEM])
    return ticks / os.sysconf("SC_CLK_TCK")
