"""What segmentations and reports share: codes, the series they are of, and how they are named.

Codes are those of DICOM CID 3014 to 3016 and 3713 as pydicom 3.0.2 lists them.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import pydicom
from pydicom.sr.coding import Code

from app.errors import ImagingError
from app.imaging.dicom.header import (
    SliceHeader,
    quiet_pydicom,
    read_dataset_file,
    read_instance,
)
from app.imaging.dicom.series import order_slices
from app.imaging.dicom.uids import derived_uid
from app.imaging.parsing import PARSER_ERRORS

ARTERY_CODES: Final[dict[str, Code]] = {
    "LM": Code("3227004", "SCT", "Left main coronary artery"),
    "LAD": Code("59438005", "SCT", "Left anterior descending coronary artery"),
    "LCX": Code("57396003", "SCT", "Circumflex coronary artery"),
    "RCA": Code("13647002", "SCT", "Right coronary artery"),
}
"""Code of each artery, as the anatomic region of a segment and the site of a finding."""

CORONARY_ARTERY: Final = Code("41801008", "SCT", "Coronary artery")
"""All of them together."""

CALCIFICATION: Final = Code("237897009", "SCT", "Vascular calcification")
"""What the calcium labels show."""

ABNORMAL_STRUCTURE: Final = Code("49755003", "SCT", "Morphologically Abnormal Structure")
"""Category of the calcium labels."""

ANATOMICAL_STRUCTURE: Final = Code("123037004", "SCT", "Anatomical Structure")
"""Category of the region labels: where an artery runs, calcified or not."""

MANUFACTURER: Final = "caclabel"
"""Names the maker of an instance."""


@dataclass(frozen=True)
class Algorithm:
    """A network whose prediction a person corrected.

    Attributes:
        name: Name of the network.
        version: Its version.
    """

    name: str
    version: str


@dataclass(frozen=True)
class Derivation:
    """How a label came about, and what the instances made from it are called.

    Attributes:
        seed: Equal seeds give equal UIDs; different labels need different ones.
        made_at: When the label was made, in seconds since the epoch.
        algorithm: What the person started from, None when drawn by hand alone.
        covers_calcium: Whether the label speaks about calcium, also where it has none.
    """

    seed: str
    made_at: float
    algorithm: Algorithm | None = None
    covers_calcium: bool = False

    def uid(self, *parts: str) -> str:
        """Return the UID of a part of what is made."""
        return str(derived_uid(self.seed, *parts))

    @property
    def segmentation_uid(self) -> str:
        """SOPInstanceUID of the segmentation."""
        return self.uid("segmentation")

    @property
    def report_uid(self) -> str:
        """SOPInstanceUID of the report."""
        return self.uid("report")

    def tracking_uid(self, name: str) -> str:
        """Return the UID under which a label is the same thing in segmentation and report."""
        return self.uid("tracking", name)


def read_sources(files: Sequence[Path]) -> list[pydicom.Dataset]:
    """Read the headers of a series, slices in the order of its volume.

    Raises:
        ImagingError: If a file is no slice of a CT series.
    """
    slices: list[SliceHeader] = []
    for path in files:
        instance = read_instance(path)
        if instance.slice is None:
            raise ImagingError(instance.problem or "the DICOM header cannot be read")
        slices.append(instance.slice)
    ordered = [header.path for header in order_slices(slices)]
    with quiet_pydicom():
        try:
            return [read_dataset_file(path, stop_before_pixels=True) for path in ordered]
        except PARSER_ERRORS as error:
            raise ImagingError("the DICOM header cannot be read") from error


def equipment() -> dict[str, Any]:
    """Return what every instance says about the program that made it."""
    return {
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": MANUFACTURER,
        "software_versions": version("caclabel"),
        "device_serial_number": "1",
    }


def tolerating_sources() -> AbstractContextManager[None]:
    """Let values out of the standard pass that the source series holds, such as invalid UIDs.

    They have to be repeated as they are: a corrected UID would name another series.
    """
    tolerating: AbstractContextManager[None] = pydicom.config.disable_value_validation()
    return tolerating


def to_bytes(dataset: pydicom.Dataset, made_at: float) -> bytes:
    """Return the file of an instance, the same one whenever it is made."""
    moment = datetime.fromtimestamp(made_at).astimezone()
    for prefix in ("InstanceCreation", "Content", "Series"):
        if f"{prefix}Date" in dataset:
            setattr(dataset, f"{prefix}Date", moment.strftime("%Y%m%d"))
            setattr(dataset, f"{prefix}Time", moment.strftime("%H%M%S"))
    for equipment_item in dataset.get("ContributingEquipmentSequence", ()):
        # With its offset, which the dates above must not have: those of the study have none.
        equipment_item.ContributionDateTime = moment.strftime("%Y%m%d%H%M%S%z")
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def coded(items: Any) -> tuple[Code, ...]:
    """Read a code sequence; codes without a value are left out."""
    return tuple(
        Code(
            str(item.get("CodeValue", "")),
            str(item.get("CodingSchemeDesignator", "")),
            str(item.get("CodeMeaning", "")),
        )
        for item in items or ()
        if item.get("CodeValue")
    )
