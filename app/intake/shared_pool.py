"""The pool as this process knows it, or as one session sees it.

Concurrency: any thread. The shared mirror reads committed rows over a connection of its own,
so nothing that is rolled back later gets into it.
"""

import threading
import weakref
from collections.abc import Collection

from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool
from sqlalchemy.pool import Pool as ConnectionPool

from app.intake.pool_mirror import ACTIVE, NO_VERSION, Pool, PoolMirror


class _SharedMirror:
    """The mirror of one database in this process, with a way to read committed rows."""

    def __init__(self, engine: Engine, key: str) -> None:
        self.mirror = PoolMirror(key)
        # Not from the engine's own pool: writers that wait for each other may hold all of
        # its connections, and the one that may write would wait here for a free one.
        self.reader = create_engine(engine.url, poolclass=NullPool)


_shared: "weakref.WeakKeyDictionary[ConnectionPool, dict[str, _SharedMirror]]" = (
    weakref.WeakKeyDictionary()
)
_shared_lock = threading.Lock()


def shared_pool(
    session: Session, key: str, leased: Collection[str] = (), unwanted: Collection[str] = ()
) -> Pool:
    """Return the pool by the mirror of this process: committed rows, in milliseconds.

    Args:
        session: Session of the database.
        key: Key of the predictions that count, see ``app.prediction_keys``.
        leased: Images that lie with a client.
        unwanted: Images to leave out unless nothing else is left.
    """
    engine = session.get_bind()
    if not isinstance(engine, Engine):
        return fresh_pool(session, key, leased, unwanted)
    with _shared_lock:
        mirrors = _shared.setdefault(engine.pool, {})
        shared = mirrors.get(key) or mirrors.setdefault(key, _SharedMirror(engine, key))
    with shared.reader.connect() as connection:
        return shared.mirror.pool(connection, leased, unwanted)


def is_ranked(session: Session, key: str, strategy: str) -> bool:
    """Tell, in a moment, whether a strategy has ranked the shared pool as it is about now."""
    engine = session.get_bind()
    shared = _shared.get(engine.pool, {}).get(key) if isinstance(engine, Engine) else None
    version = session.scalar(ACTIVE) or NO_VERSION
    return shared is not None and shared.mirror.has_ranking(version, strategy)


def fresh_pool(
    session: Session, key: str, leased: Collection[str] = (), unwanted: Collection[str] = ()
) -> Pool:
    """Return the pool as the session sees it, everything loaded anew."""
    return PoolMirror(key).pool(session.connection(), leased, unwanted)
