"""Running out of memory: how it is told from other errors, and trying again with less at once.

What failed holds its tensors for as long as its traceback lives. Whoever tries again therefore
leaves the ``except`` block first, which frees both; see ``attempt``.

Concurrency: a ``Room`` may be shared by threads; each call is one step. oneDNN notes for each
thread that memory for code was refused, and then makes no new code in it any more (seen with
PyTorch 2.13): in such a thread every attempt is made by a thread of its own.
"""

import contextvars
import errno
import gc
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Final, TypeVar

import torch

logger = logging.getLogger(__name__)

_SHORTAGES: Final = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "unable to mmap",
    "std::bad_alloc",
    "can't start new thread",
)
"""What PyTorch says within a plain RuntimeError when memory could not be had."""

_BARE_SHORTAGES: Final = ("could not create a primitive", "could not create a memory object")
"""All that oneDNN says then; with more words after them they mean something else."""

_Result = TypeVar("_Result")


class _Thread(threading.local):
    """What is known of the thread that asks."""

    makes_no_code = False


_this_thread: Final = _Thread()


class MemoryShortageError(MemoryError):
    """Even the smallest piece of the work does not fit into memory."""


@dataclass(frozen=True)
class Shortage:
    """Memory that could not be had.

    Attributes:
        problem: What the allocator said, one line.
    """

    problem: str


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory could not be had, and nothing else."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    text = str(error)
    is_said = text in _BARE_SHORTAGES or any(words in text for words in _SHORTAGES)
    return isinstance(error, RuntimeError) and is_said


def attempt(act: Callable[[], _Result]) -> _Result | Shortage:
    """Do something that may need more memory than there is.

    Returns:
        Its result, or what could not be had: then all that it had taken was given back.
    """
    try:
        return _in_another_thread(act) if _this_thread.makes_no_code else act()
    # Broad, because PyTorch has no type of its own for most of these; all others go their way.
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        shortage = Shortage((str(error) or type(error).__name__).partition("\n")[0])
    # Only here is the traceback gone, and with it what its frames held.
    give_back()
    _this_thread.makes_no_code |= shortage.problem in _BARE_SHORTAGES
    return shortage


def _in_another_thread(act: Callable[[], _Result]) -> _Result:
    """Do something in a new thread, which is to find everything as it is in this one."""
    context, has_gradients = contextvars.copy_context(), torch.is_grad_enabled()
    is_inference = torch.is_inference_mode_enabled()

    def run() -> _Result:
        with torch.inference_mode(is_inference), torch.set_grad_enabled(has_gradients):
            return act()

    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(context.run, run).result()


def give_back() -> None:
    """Free what nobody uses any more, and hand it back to the device."""
    gc.collect()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # torch's own has no types
        torch.cuda.empty_cache()


class Room:
    """How many pixels fit into the memory of a device at once, as far as is known."""

    def __init__(self) -> None:
        """Know of no bound."""
        self._lock = threading.Lock()
        self._pixels: int | None = None

    def fitting(self, wanted: int) -> int:
        """Return how many of the wanted pixels to try at once."""
        with self._lock:
            return wanted if self._pixels is None else min(wanted, self._pixels)

    def note_shortage(self, tried: int, shortage: Shortage) -> None:
        """Note that so many pixels did not fit: half of them are tried from now on."""
        with self._lock:
            known = tried if self._pixels is None else self._pixels
            self._pixels = pixels = min(tried // 2, known)
        logger.warning(
            "no memory for %d pixels at once, %d from now on: %s", tried, pixels, shortage.problem
        )


@cache
def room_on(device: str) -> Room:
    """Return what this process has learned of the memory of a device."""
    del device
    return Room()
