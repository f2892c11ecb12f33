"""What something is done for: a request, a job; known to every line that is logged meanwhile.

The id of a request is stored with the jobs that it asks for, so that what a worker logs about
a job leads back to the request. A context variable, because nothing on the way has a use for it.
"""

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

_USABLE: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")

_BYTES: Final = 8
"""Of an id that is made here: enough for a log."""


@dataclass
class Trace:
    """For what something is done, as far as it is known by now.

    Attributes:
        request_id: The request, or the one that asked for the job.
        job_id: The job.
        user: Who asks.
    """

    request_id: str = ""
    job_id: str = ""
    user: str = ""


_TRACE: ContextVar[Trace | None] = ContextVar("trace", default=None)


@contextmanager
def tracing(trace: Trace) -> Iterator[Trace]:
    """Let what runs in the block be done for something."""
    before = _TRACE.set(trace)
    try:
        yield trace
    finally:
        _TRACE.reset(before)


def trace_from_here(trace: Trace) -> None:
    """Let what this task, or this thread, still does be done for something."""
    _TRACE.set(trace)


def current_trace() -> Trace:
    """Return for what something is done; an empty trace where that is nothing."""
    return _TRACE.get() or Trace()


def request_id_of(given: str) -> str:
    """Return the id that a client or a proxy gave a request; a new one for an unusable one."""
    return given if _USABLE.fullmatch(given) else secrets.token_hex(_BYTES)
