"""One sentence for work that does not fit into memory, whatever said so."""

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from app.errors import TooLittleMemoryError
from models.memory import give_back, is_out_of_memory

logger = logging.getLogger(__name__)


@contextmanager
def memory_needed(what: str) -> Iterator[None]:
    """Refuse what the block does if there is no memory for it, and give back what it took.

    Args:
        what: What is done, as the beginning of a sentence.

    Raises:
        TooLittleMemoryError: If there is not enough memory.
    """
    try:
        yield
    # Broad, because PyTorch has no type of its own for most of these; all others go their way.
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        # Frames hold their arrays for as long as somebody keeps the error.
        traceback.clear_frames(error.__traceback__)
        logger.warning("out of memory: %s", str(error).partition("\n")[0])
        refusal = TooLittleMemoryError(
            f"{what} needs more memory than there is, even in the smallest pieces; end other"
            " programs or give the machine more memory, then ask again"
        )
    else:
        return
    give_back()
    raise refusal from None
