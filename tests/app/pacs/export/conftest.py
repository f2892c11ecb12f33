"""One labeled image on a real DICOMweb server."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.app.pacs.export_site import ExportSite, closing, make_site
from tests.orthanc import OrthancServer

_SEEDS = itertools.count(100)


@pytest.fixture
def site(remote: OrthancServer, tmp_path: Path, migrated_file: Path) -> Iterator[ExportSite]:
    yield from closing(make_site(remote, tmp_path, migrated_file, seed=next(_SEEDS)))
