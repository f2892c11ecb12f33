"""What was measured while the demonstration ran; the report is made of nothing else."""

from dataclasses import dataclass, field
from pathlib import Path

from server.demo.answers import Prediction
from server.demo.comparison import Comparison, Figures
from server.demo.patients import Patient
from server.demo.plan import DemoPlan
from server.demo.real_scans import RealScan


@dataclass(frozen=True)
class LabelRecord:
    """One label the annotator submitted.

    Attributes:
        image_id: Image in the pool.
        patient: The synthetic patient.
        utility: What the strategy gave the image.
        shown: The pre-annotation beside the label; None before the first model.
    """

    image_id: str
    patient: Patient
    utility: float
    shown: Comparison | None


@dataclass(frozen=True)
class Judgement:
    """A model on the patients to test on.

    Attributes:
        figures: Agreement over all of them.
        comparisons: The same patient by patient.
        predictions: What the server answered, patient by patient.
        seconds: Time for sending, predicting and comparing them.
    """

    figures: Figures
    comparisons: tuple[Comparison, ...]
    predictions: tuple[Prediction, ...]
    seconds: float


@dataclass(frozen=True)
class RoundRecord:
    """One round: labeling, training, judging.

    Attributes:
        number: From 1.
        strategy: Strategy that chose the images.
        labels: Labels submitted in this round.
        label_count: Labels in the store after it.
        skipped: Offered images nobody could label, given back.
        ranking_s: Seconds until the pool was predicted anew before this round's first sample.
        training_s: Seconds from asking for the training until it was done.
        judgement: The new model on the patients to test on.
    """

    number: int
    strategy: str
    labels: tuple[LabelRecord, ...]
    label_count: int
    skipped: int
    ranking_s: float
    training_s: float
    judgement: Judgement

    @property
    def changed_voxels(self) -> float | None:
        """Mean number of calcium voxels the annotator had to change; None without a model."""
        shown = [label.shown.changed_voxels for label in self.labels if label.shown is not None]
        return sum(shown) / len(shown) if shown else None


@dataclass(frozen=True)
class RealRecord:
    """A real scan and what the last model says about it.

    Attributes:
        scan: The scan.
        image: The image as the server gives it out.
        prediction: What the model says.
    """

    scan: RealScan
    image: Path
    prediction: Prediction


@dataclass
class DemoRecord:
    """The whole demonstration.

    Attributes:
        plan: What was to be done.
        test: Patients to test on.
        version: Version of the server.
        rounds: The rounds, in order.
        real: Real scans.
        making_s: Seconds for making the patients.
        starting_s: Seconds until server and worker were ready and the pool was scanned.
        total_s: Seconds of everything.
    """

    plan: DemoPlan
    test: tuple[Patient, ...]
    version: str = ""
    rounds: list[RoundRecord] = field(default_factory=list)
    real: list[RealRecord] = field(default_factory=list)
    making_s: float = 0.0
    starting_s: float = 0.0
    total_s: float = 0.0
