"""Answers of the server, as far as the annotator reads them."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, Field


class Offer(BaseModel):
    """The image to label next.

    Attributes:
        id: Its id in the pool.
        name: File name for the download.
        weight: Utility the strategy gave it.
        checksum: ``SHA256:<hex>`` of the file, or empty.
        patient_id: Identifier of the patient, or empty.
    """

    id: str
    name: str
    weight: float
    checksum: str = ""
    patient_id: str = Field("", alias="PatientID")

    @property
    def patient(self) -> str:
        """Name of the patient: its DICOM identifier, else the id of the image."""
        return self.patient_id or self.id


class Status(BaseModel):
    """How far a training is.

    Attributes:
        status: ``RUNNING``, ``DONE``, ``ERROR`` or ``STOPPED``.
        progress: Between 0 and 1.
        details: Last lines for people.
    """

    status: str
    progress: float
    details: list[str]

    @property
    def line(self) -> str:
        """Last thing the job said."""
        return self.details[-1] if self.details else ""


class Artery(BaseModel):
    """Calcium of one artery, or of all together."""

    agatston: float
    volume_mm3: float
    mass_mg: float
    lesions: int


class Distribution(BaseModel):
    """Agatston score over the stochastic samples of a prediction."""

    samples: int
    median: float
    p5: float
    p95: float


class CalciumTable(BaseModel):
    """The calcium table that comes with a prediction."""

    total: Artery
    arteries: dict[str, Artery]
    risk_category: str
    rule: str
    distribution: Distribution | None = None


@dataclass(frozen=True)
class Prediction:
    """A prediction as a client receives it.

    Attributes:
        mask: File of the label map.
        table: Calcium table.
    """

    mask: Path
    table: CalciumTable
