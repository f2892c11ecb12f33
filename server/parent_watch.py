"""Ending a process with its parent, also when the parent was killed."""

import os
import sys
import threading


def end_with_parent() -> None:
    """End this process at once when its standard input, held by its parent, is closed.

    The kernel closes it however the parent ends. A worker needs no farewell: what it had
    not finished is taken up by the next one.
    """
    threading.Thread(target=_wait_for_end, name="parent-watch", daemon=True).start()


def _wait_for_end() -> None:
    while sys.stdin.buffer.read(1):
        pass
    os._exit(0)
