"""Waiting for other processes, with a bound."""

import threading
import time
from collections.abc import Callable

_PAUSE_S = 0.05


def wait_until(is_true: Callable[[], bool], timeout_s: float = 30.0) -> None:
    """Look again and again until it is true; fail after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not is_true():
        assert time.monotonic() < deadline, f"not true within {timeout_s:g} s"
        pause.wait(_PAUSE_S)
