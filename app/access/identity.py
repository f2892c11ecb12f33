"""Who asks: known to everything that runs for one request, without being passed along.

The web process sets it before a request reaches its route. A context variable, because the
routes of this protocol take names from their clients (``client_id``), and what is written
down must not depend on every one of them remembering that a name is only a claim.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from app.access.roles import Role


@dataclass(frozen=True)
class Identity:
    """Somebody whose credentials were checked.

    Attributes:
        name: User name.
        role: What they may do; None: nothing, though the identity provider knows them.
        means: What they showed, in words that give nothing away: ``key 3f0c…``, ``login``.
        token_id: The login to end when they log out; empty where there is none.
    """

    name: str
    role: Role | None
    means: str
    token_id: str = ""


_ACTING: ContextVar[Identity | None] = ContextVar("acting", default=None)


@contextmanager
def acting_as(identity: Identity | None) -> Iterator[None]:
    """Let what runs in the block be done by somebody."""
    before = _ACTING.set(identity)
    try:
        yield
    finally:
        _ACTING.reset(before)


def acting() -> Identity | None:
    """Return who asks; None where nobody has to log in, and in workers."""
    return _ACTING.get()


def acting_name(claimed: str) -> str:
    """Return the name of who asks, and where nobody has to log in the one that was claimed."""
    identity = acting()
    return claimed if identity is None else identity.name
