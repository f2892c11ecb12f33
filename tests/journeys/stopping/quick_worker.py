"""The worker with trainings of very short epochs; run as a module with its data folder."""

import os
import sys
from dataclasses import replace
from pathlib import Path

from app import worker
from app.background.shift import StopSignals
from app.recipes import calcium
from app.settings import load_settings

_STEPS = 1


def main(data: Path) -> None:
    """Work until asked to stop."""
    stop = StopSignals()
    stop.install()
    short = replace(calcium._SMALL_TRAINING, steps_per_epoch=_STEPS)
    calcium._SMALL_TRAINING = short  # type: ignore[misc]  # for this process
    settings = load_settings(
        data=data,
        profile="small",
        first_training=1,
        validation_percent=0,
        shutdown_seconds=120,
        threads=1,
    )
    worker.main(settings, stop)
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
