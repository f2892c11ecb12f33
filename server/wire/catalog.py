"""What a client can choose from: the model, its trainer, scoring methods, and their options."""

from collections.abc import Mapping
from typing import Annotated, Final

from fastapi import Depends

from app.errors import NotFoundError
from app.settings import Settings
from server.wire.options import Options
from strategies.registry import strategy_names

MODEL: Final = "calcium"
"""Name of the model and of its trainer; without a space, which clients turn into a plus."""

MODEL_DESCRIPTION: Final = "Coronary calcium and artery regions with calcium scores per artery"

LESION_CLICK: Final = "lesion_click"
"""Model that answers clicks with the lesions there; the annotator chooses the artery."""

LESION_CLICK_DESCRIPTION: Final = "Click on calcium to fill the lesion; choose the artery's segment"

FROM_NOTHING: Final = "nothing"
FROM_PREDICTION: Final = "prediction"

CLICK_OPTIONS: Final[Options] = {"start": [FROM_NOTHING, FROM_PREDICTION]}
"""Options of lesion_click: what the segment holds before the clicks."""

LESION_ASSIGN: Final = "lesion_assign"
"""Model that answers clicks with the lesions there, each in the artery the network sees."""

LESION_ASSIGN_DESCRIPTION: Final = (
    "Click on calcium to fill the lesion in the artery that the network sees there"
)

CLICK_MODELS: Final = (LESION_CLICK, LESION_ASSIGN)
"""Models without weights of their own."""

TRAINER_DESCRIPTION: Final = "Train regions and calcium jointly on every submitted label"

WITH_REGIONS: Final = "calcium and regions"
CALCIUM_ONLY: Final = "calcium"

INFER_OPTIONS: Final[Options] = {"structures": [WITH_REGIONS, CALCIUM_ONLY]}
"""Options of a prediction; the first item of a list is the default."""

HUMAN_TAG: Final = "final"
"""Tag of the labels that people submitted; predictions never replace them."""

PREDICTION_TAG: Final = "original"
"""Tag of predictions kept as labels; 3D Slicer shows them with the next sample."""

TRAINING_STARTS: Final = ("shrink_perturb", "fresh", "warm")
"""Where the weights of a training may begin: near the last version, anew, or at it."""

SCORING_METHODS: Final[Mapping[str, str]] = {
    "dice": "Dice of the predictions of the active model against the submitted labels",
    "uncertainty": "Uncertainty of the predictions of the active model",
}


def train_options(settings: Settings) -> Options:
    """Return the options of a training with their defaults; 0 epochs: as the profile says."""
    others = [start for start in TRAINING_STARTS if start != settings.train_start]
    return {"max_epochs": settings.max_epochs, "start": [settings.train_start, *others]}


def _known_model(model: str) -> str:
    if model in CLICK_MODELS:
        raise NotFoundError(f"{model} only answers clicks and has no weights; use {MODEL}")
    return _known("model", model, (MODEL,))


def _known_answering_model(model: str) -> str:
    return _known("model", model, (MODEL, *CLICK_MODELS))


def _known_strategy(strategy: str) -> str:
    return _known("strategy", strategy, strategy_names())


def _known_method(method: str) -> str:
    return _known("scoring method", method, tuple(SCORING_METHODS))


def _known(kind: str, name: str, known: tuple[str, ...]) -> str:
    if name not in known:
        raise NotFoundError(f"no {kind} {name!r}; known: {', '.join(known)}")
    return name


ModelName = Annotated[str, Depends(_known_model)]
AnsweringModel = Annotated[str, Depends(_known_answering_model)]
StrategyName = Annotated[str, Depends(_known_strategy)]
MethodName = Annotated[str, Depends(_known_method)]
