"""One training of a simulation, from labels to what the model is worth.

The same trainer, predictor and measures as the server's; only the database is missing.
"""

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from app.evaluation import EvaluationCase
from app.prediction.prediction import predict
from app.recipes import calcium
from app.settings import Settings
from app.simulation.cases import TEST, Oracle
from app.simulation.judging import judge_patient, stack
from app.simulation.outcomes import Outcome, Unit, pool_view
from app.simulation.plan import Task, network_config, trainer_config
from models.predictor import Predictor
from models.training.trainer import Trainer

_JUDGING_SAMPLES = 2
"""Samples of a prediction that only its deterministic part is wanted of."""


def run_unit(unit: Unit, task: Task, oracle: Oracle, settings: Settings) -> Outcome:
    """Train from scratch on the unit's labels, judge, and predict the pool.

    Args:
        unit: What to train on.
        task: What is learned, the same for all units.
        oracle: Images with all labels; the labels of the unit alone are used for training.
        settings: Settings of a deployment; its seed gives way to the unit's.
    """
    own = settings.model_copy(update={"seed": unit.seed, "samples": task.samples})
    quick = own.model_copy(update={"samples": _JUDGING_SAMPLES})
    started = time.process_time()
    labeled = [oracle.pool[place] for place in unit.places]
    predictor = _fit(unit, task, labeled, oracle.validation, own)
    trained = time.process_time()
    tables = {
        name: stack(
            [
                judge_patient(case, predict(predictor, case.image, quick), quick)
                for case in oracle.sets[name]
            ]
        )
        for name in (oracle.judged if unit.judges_strata else (TEST,))
    }
    pool = None
    if unit.predicts_pool:
        pool = pool_view([predict(predictor, case.image, own) for case in oracle.pool])
    return Outcome(tables, pool, trained - started, time.process_time() - trained)


def _fit(
    unit: Unit,
    task: Task,
    cases: Sequence[EvaluationCase],
    validation: Sequence[EvaluationCase],
    settings: Settings,
) -> Predictor:
    """Train the stages of an arm; validation patients choose how sure of a lesion to be."""
    recipe = trainer_config(task, settings)
    training = [case.training for case in cases]
    held_out = [case.training for case in validation]
    weights: Mapping[str, Tensor] | None = None
    with tempfile.TemporaryDirectory(prefix="caclabel-simulation-") as name:
        path = Path(name) / "weights.safetensors"
        for number, stage in enumerate(
            calcium.training_stages(unit.training, network_config(task), recipe)
        ):
            folder = Path(name) / str(number)
            trainer = Trainer(stage.network, stage.trainer, training, held_out, folder, weights)
            while not trainer.is_finished:
                trainer.run_epoch(lambda _: None, lambda: False)
            weights = trainer.weights
            trainer.write_checkpoint(path, {})
        return Predictor(path, settings.device)
