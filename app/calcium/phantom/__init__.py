"""Synthetic non-contrast cardiac CT with the labels an expert would submit."""

from app.calcium.phantom.config import (
    DEFAULT_SHAPE,
    SCORE_CLASSES,
    ArteryTruth,
    Facts,
    Phantom,
    PhantomConfig,
)
from app.calcium.phantom.series import make_phantom, phantom_patient

__all__ = [
    "DEFAULT_SHAPE",
    "SCORE_CLASSES",
    "ArteryTruth",
    "Facts",
    "Phantom",
    "PhantomConfig",
    "make_phantom",
    "phantom_patient",
]
