"""Arrays of images: decoded once, and never in the way."""

import shutil

import numpy as np

from app import images
from app.arrays import decode_image, find_image, is_kept, keep_image, load_image
from app.imaging.volume_writer import write_volume
from app.intake.pool import get_image
from app.store.tables import ImageRow
from tests.app.conftest import Deployment
from tests.factories import make_volume


def registered(deployment: Deployment) -> ImageRow:
    write_volume(deployment.studies / "a.nii.gz", make_volume())
    images.scan_studies(deployment.database, deployment.settings, now=lambda: 1.0)
    with deployment.database.reading() as session:
        return get_image(session, "a")


def test_an_image_is_decoded_once(deployment: Deployment) -> None:
    row = registered(deployment)
    assert not is_kept(deployment.settings, row)
    assert find_image(deployment.settings, row) is None
    first = load_image(deployment.settings, deployment.files, row)
    shutil.rmtree(deployment.studies)
    again = load_image(deployment.settings, deployment.files, row)
    assert isinstance(again.hu, np.memmap)
    np.testing.assert_array_equal(again.hu, first.hu)
    np.testing.assert_array_equal(again.grid.affine, first.grid.affine)


def test_decoding_alone_writes_nothing(deployment: Deployment) -> None:
    row = registered(deployment)
    decode_image(deployment.settings, deployment.files, row)
    assert not is_kept(deployment.settings, row)


def test_a_disk_without_room_takes_no_image_away(deployment: Deployment) -> None:
    row = registered(deployment)
    settings = deployment.settings
    settings.cache.mkdir(parents=True, exist_ok=True)
    # A link to nowhere takes no file, as a full disk.
    (settings.cache / "arrays").symlink_to(settings.cache / "gone" / "arrays")
    image = decode_image(settings, deployment.files, row)
    keep_image(settings, row, image)
    assert not is_kept(settings, row)
    assert load_image(settings, deployment.files, row).hu.shape == image.hu.shape
