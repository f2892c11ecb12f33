"""Images of sessions in memory, as many as there is room for."""

from pathlib import Path

import numpy as np
import pytest

from app.clicks.session_images import SessionImages
from app.errors import ImagingError
from app.imaging.volume_writer import write_volume
from tests.factories import make_volume

VOLUME_BYTES = make_volume().hu.nbytes

NOWHERE = Path("a session that has no file")


def test_what_was_decoded_is_not_read_again() -> None:
    kept = SessionImages()
    kept.keep(NOWHERE, make_volume())
    np.testing.assert_array_equal(kept.load(NOWHERE).hu, make_volume().hu)
    kept.forget(NOWHERE)
    with pytest.raises(ImagingError):
        kept.load(NOWHERE)


def test_the_one_unused_for_longest_makes_room() -> None:
    kept = SessionImages(room_bytes=2 * VOLUME_BYTES)
    for name in ("a", "b"):
        kept.keep(Path(name), make_volume())
    kept.load(Path("a"))
    kept.keep(Path("c"), make_volume())
    for name in ("a", "c"):
        kept.load(Path(name))
    with pytest.raises(ImagingError):
        kept.load(Path("b"))


def test_an_image_without_room_is_read_every_time(tmp_path: Path) -> None:
    path = tmp_path / "image.nii.gz"
    write_volume(path, make_volume())
    kept = SessionImages(room_bytes=VOLUME_BYTES - 1)
    first, again = kept.load(path), kept.load(path)
    assert first is not again
    np.testing.assert_array_equal(first.hu, again.hu)
