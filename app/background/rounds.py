"""What a worker does again and again beside its jobs, as looking at a folder.

Concurrency: each round has a thread of its own, so that a slow share never delays a sign of
life or the hand-over of a prediction. The threads are daemons: they end with the process.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

logger = logging.getLogger(__name__)

_REST: Final = 10.0
"""A round rests so many times as long as it took: it uses a tenth of a slow disk at most."""

_AFTER_ERROR_S: Final = 10.0
"""Pause after a round that failed; the next one may go well."""


def start_round(name: str, act: Callable[[], float]) -> threading.Event:
    """Call ``act`` again and again in a thread of its own; no error ends it.

    Args:
        name: Name of the thread.
        act: What to do; returns the seconds to wait before the next time.

    Returns:
        Event that ends the thread when it is set.
    """
    stop = threading.Event()
    threading.Thread(target=_repeat, args=(name, act, stop), name=name, daemon=True).start()
    return stop


def pause_s(wanted_s: float, took_s: float) -> float:
    """Return how long to wait after a round that took ``took_s``."""
    return max(wanted_s, _REST * took_s)


def _repeat(name: str, act: Callable[[], float], stop: threading.Event) -> None:
    while not stop.is_set():
        started, wanted_s = time.monotonic(), _AFTER_ERROR_S
        try:
            wanted_s = act()
        except OSError as error:
            # Without the file's name, which may be a patient's.
            logger.warning("%s failed: %s", name, error.strerror)
        # Broad on purpose, as in every loop of the worker: nobody would start the thread again, so
        # a busy database or a mistake of ours must cost this round and not all later ones.
        except Exception:
            logger.exception("%s failed", name)
        stop.wait(pause_s(wanted_s, time.monotonic() - started))
