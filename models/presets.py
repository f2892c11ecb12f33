"""Training plans that were measured on phantoms of 128 x 128 x 24."""

from typing import Final

from .trainer import TrainerConfig

FULL_TRAINING: Final = TrainerConfig()
"""For a model to be used: about eight minutes of one core with ``small_network``."""

DEMO_TRAINING: Final = TrainerConfig(
    epochs=8, steps_per_epoch=20, validate_every=4, average_decay=0.97
)
"""For several rounds within minutes: about 90 s of one core with ``small_network``."""
