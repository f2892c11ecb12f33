"""Images of sessions for clicks that come one after the other.

The image of a session never changes. It is decoded when the session is opened, to check it,
and stays in the memory of the process as long as there is room: the first click takes
milliseconds then, as every later one does.

Concurrency: any thread of the web process. One lock guards the table; nothing is decoded
while it is held, so two that come at once may both decode.
"""

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Final

from app.arrays import AxialImage, axial_image
from app.imaging.reader import read_volume
from app.imaging.volume import Volume

_ROOM_BYTES: Final = 256 * 1024 * 1024
"""Memory for images of sessions; one of 512 x 512 x 57 voxels takes 30 MB."""


class SessionImages:
    """The images of sessions that were used last."""

    def __init__(self, room_bytes: int = _ROOM_BYTES) -> None:
        """Begin with none."""
        self._room = room_bytes
        self._lock = threading.Lock()
        self._images: OrderedDict[Path, AxialImage] = OrderedDict()

    def load(self, path: Path) -> AxialImage:
        """Return the image of a session in axial orientation.

        Args:
            path: Its file or folder, as ``sessions.image_path`` gives it; unique to the session.

        Raises:
            ImagingError: If its files are damaged.
        """
        with self._lock:
            image = self._images.get(path)
            if image is not None:
                self._images.move_to_end(path)
                return image
        return self.keep(path, read_volume(path))

    def keep(self, path: Path, volume: Volume) -> AxialImage:
        """Keep a decoded image, and as many of the others as there is room for."""
        image = axial_image(volume)
        with self._lock:
            self._images[path] = image
            self._images.move_to_end(path)
            while sum(one.hu.nbytes for one in self._images.values()) > self._room:
                self._images.popitem(last=False)
        return image

    def forget(self, path: Path) -> None:
        """Let go of an image whose session is over."""
        with self._lock:
            self._images.pop(path, None)
