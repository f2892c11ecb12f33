"""UIDs made from what they name, so that the same thing made twice is one instance."""

import hashlib
from typing import Final

from pydicom.uid import UID

_UUID_ROOT: Final = "2.25."
"""Root of UIDs made from 128-bit numbers, free for everybody (PS3.5 B.2)."""

_UUID_BYTES: Final = 16
"""Length of such a number."""


def derived_uid(*parts: str) -> UID:
    """Return the UID that belongs to these parts, always the same one."""
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return UID(_UUID_ROOT + str(int.from_bytes(digest[:_UUID_BYTES], "big")))
