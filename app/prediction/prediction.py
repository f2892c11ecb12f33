"""What a model version says about an image: labels, scores, and how sure it is of them."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.arrays import AxialImage
from app.calcium.samples import agatston_samples
from app.calcium.score import CalciumScores, calcium_scores
from app.calcium.stakes import agatston_at_stake
from app.recipes.calcium import label_map
from app.settings import Settings
from models.predictor import NetworkPrediction, Predictor
from strategies.aggregation import ImageUncertainty, image_uncertainty
from strategies.uncertainty import (
    VarianceShares,
    category_entropy,
    clinical_uncertainty,
    variance_shares,
)


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model version says about an image, ready to be stored.

    Attributes:
        labels: Canonical label map in axial orientation, shape (Z, Y, X).
        scores: Calcium table of the label map.
        agatston_samples: Agatston score per sample and artery, shape (T, 4).
        clinical_uncertainty: Standard deviation of log(1 + total Agatston) over the samples.
        category_entropy: Entropy of the samples' risk categories, in nats.
        uncertainty: Measures of the candidate voxels.
        shares: Which head's doubt moves the scores; None with fewer than two samples a head.
        region_uncertainty: Entropy at the boundary of the artery regions, in nats.
        has_candidates: Whether any voxel within reach may be calcium.
        embedding: Encoder features, shape (D,).
        seconds: Time it took.
    """

    labels: NDArray[np.uint8]
    scores: CalciumScores
    agatston_samples: NDArray[np.float64]
    clinical_uncertainty: float
    category_entropy: float
    uncertainty: ImageUncertainty
    shares: VarianceShares | None
    region_uncertainty: float
    has_candidates: bool
    embedding: NDArray[np.float32]
    seconds: float

    @property
    def agatston(self) -> float:
        """Median of the samples' total scores."""
        return float(np.median(self.agatston_samples.sum(axis=1)))


def predict(
    predictor: Predictor,
    image: AxialImage,
    settings: Settings,
    on_progress: Callable[[float], None] | None = None,
) -> Prediction:
    """Predict an image and score what was found, in every sample.

    Args:
        predictor: The network.
        image: The image.
        settings: Settings of the deployment.
        on_progress: Told the finished fraction of the slices; may raise to end the prediction.
    """
    started = time.monotonic()
    raw = predictor.predict(
        image.hu,
        spacing_mm=image.spacing_mm,
        threshold_hu=image.threshold_hu,
        samples=settings.samples,
        seed=settings.seed,
        on_progress=on_progress,
    )
    labeled = label_map(raw)
    samples = _agatston(image, raw, raw.artery_samples, settings)
    totals = samples.sum(axis=1)[None]
    return Prediction(
        labels=labeled,
        scores=_scores(image, labeled, settings),
        agatston_samples=samples,
        clinical_uncertainty=float(clinical_uncertainty(totals)[0]),
        category_entropy=float(category_entropy(totals)[0]),
        uncertainty=_uncertainty(image, raw, settings),
        shares=_shares(image, raw, samples, settings),
        region_uncertainty=raw.region_entropy,
        has_candidates=raw.candidate_index.size > 0,
        embedding=raw.embedding,
        seconds=time.monotonic() - started,
    )


def _uncertainty(image: AxialImage, raw: NetworkPrediction, settings: Settings) -> ImageUncertainty:
    stakes = agatston_at_stake(
        image.hu, raw.candidate_index, spacing_mm=image.spacing_mm, rule=settings.rule
    )
    return image_uncertainty(
        raw.mutual_information,
        entropy=raw.entropy,
        artery=raw.artery,
        component=stakes.component,
        agatston_at_stake=stakes.agatston,
        artery_samples=raw.artery_samples,
        voxel_volume_mm3=float(np.prod(image.spacing_mm)),
    )


def _agatston(
    image: AxialImage,
    raw: NetworkPrediction,
    artery_samples: NDArray[np.uint8],
    settings: Settings,
) -> NDArray[np.float64]:
    return agatston_samples(
        image.hu,
        raw.candidate_index,
        artery_samples,
        spacing_mm=image.spacing_mm,
        threshold_hu=image.threshold_hu,
        rule=settings.rule,
    )


def _shares(
    image: AxialImage, raw: NetworkPrediction, samples: NDArray[np.float64], settings: Settings
) -> VarianceShares | None:
    lesion, region = (
        _agatston(image, raw, raw.samples_by_head[head], settings) for head in ("lesion", "region")
    )
    if len(lesion) < 2:
        return None
    # The same masks for all three: what differs is where they are active.
    return variance_shares(samples[: len(lesion)], lesion, region)


def _scores(image: AxialImage, labeled: NDArray[np.uint8], settings: Settings) -> CalciumScores:
    return calcium_scores(
        image.hu,
        labeled,
        spacing_mm=image.spacing_mm,
        kvp=image.kvp,
        rule=settings.rule,
        mass_factor=settings.mass_factor,
    )
