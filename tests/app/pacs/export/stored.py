"""A label to export, and what the server has of it."""

import numpy as np
import pydicom
from numpy.typing import NDArray

from tests.app.pacs.export_site import ExportSite
from tests.factories import SHAPE
from tests.orthanc import OrthancServer


def calcified() -> NDArray[np.uint8]:
    label = np.zeros(SHAPE, np.uint8)
    label[1:3, 1:4, 1:4], label[4, 2:5, 3:6], label[0, 0, :] = 2, 4, 6
    return label


def stored(server: OrthancServer, site: ExportSite, modality: str) -> list[bytes]:
    """Return the instances of a modality in the study of the image."""
    study = str(pydicom.dcmread(site.files[0]).StudyInstanceUID)
    names = server.find("Instance", StudyInstanceUID=study, Modality=modality)
    return [server.request("GET", f"/instances/{name}/file").content for name in names]
