"""Whether files hold still: half of a series that is being copied looks like a sound one."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final


@dataclass(frozen=True)
class Stillness:
    """How long files must have been left alone before they are taken for an image.

    Attributes:
        seconds: How long; 0 takes everything at once.
        met_at: When signatures of files with times of the future were met first, as on a share
            whose clock is ahead; from then on they must have held still.
    """

    seconds: float = 0.0
    met_at: Mapping[str, float] = field(default_factory=dict)


AT_ONCE: Final = Stillness()
"""Nothing is waited for."""


def last_change(files: Sequence[Path], *, now: float) -> float:
    """Return when the youngest file was written or put in its place; infinity if after ``now``.

    Copying may keep the time of the content, but never that of the entry itself.

    Raises:
        OSError: If a file is gone.
    """
    return max(
        max((at for at in (status.st_mtime, status.st_ctime) if at <= now), default=math.inf)
        for status in (file.stat() for file in files)
    )
