"""Ids as the log has them."""

import hashlib
import logging

import numpy as np
import pytest

from app.intake import row_changes
from app.intake.identifiers import for_log
from app.intake.image_rows import Origin, measure_volume
from tests.app.conftest import Deployment
from tests.app.pool import add_image
from tests.factories import make_volume


def test_a_file_name_is_a_hash_wherever_it_stands() -> None:
    digest = hashlib.sha256(b"SCHMIDT_ERNA").hexdigest()[:12]
    told = for_log("SCHMIDT_ERNA", "image SCHMIDT_ERNA: no label of image 'SCHMIDT_ERNA'")
    assert told == f"image #{digest}: no label of image '#{digest}'"


def test_a_uid_stays() -> None:
    assert for_log("1.2.840.113", "image 1.2.840.113 was left out") == (
        "image 1.2.840.113 was left out"
    )


def test_new_content_of_a_file_is_told_without_its_name(
    deployment: Deployment, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    volume = make_volume(seed=1)
    origin = Origin("studies", "nifti", "SCHMIDT_ERNA.nii.gz", "signature", ".nii.gz")
    with deployment.database.writing() as session:
        row = add_image(session, "SCHMIDT_ERNA")
        row_changes.replace(
            session, row, measure_volume(volume), origin, refusal="labeled before", now=2.0
        )
        assert np.prod(list(row.shape.values())) == volume.hu.size
    assert "has new content" in caplog.text
    assert "SCHMIDT" not in caplog.text
