"""What the small network learns from 40 synthetic patients on a processor."""

import os
from pathlib import Path
from time import perf_counter
from typing import Final

import torch

from app.arrays import axial_image
from app.evaluation import Agreement, EvaluationCase, judge
from app.imaging.labelmap import read_label_map
from app.imaging.reader import read_volume
from app.prediction.weights import load_predictor
from app.recipes import calcium
from app.settings import Settings, load_settings
from models import checkpoint
from models.operating_point import LESION_MARGIN
from models.training.trainer import Trainer
from server.bench.figures import Figure, Section
from server.bench.scale import Scale
from server.demo.patients import Order, Patient, make_patients

_TRAINING, _VALIDATION, _TEST = 40, 10, 20
_SIZE: Final = (128, 128, 24)
_TRAINING_SEED, _TEST_SEED = 11, 12


def measure(scale: Scale) -> Section:
    """Train as a worker would and judge on unseen patients."""
    torch.set_num_threads(os.cpu_count() or 1)
    settings = load_settings(profile="small", device="cpu")
    folder = scale.folder / "learning"
    counts = (4, 2, 3) if scale.is_quick else (_TRAINING, _VALIDATION, _TEST)
    labeled = _cases(scale, folder, _TRAINING_SEED, counts[0] + counts[1])
    training, validation = labeled[: counts[0]], labeled[counts[0] :]
    test = _cases(scale, folder, _TEST_SEED, counts[2])
    trainer, seconds = _train(scale, settings, training, validation, folder)
    path = folder / "weights.safetensors"
    trainer.write_checkpoint(path, {})
    scale.narrator.progress("judging on unseen patients")
    started = perf_counter()
    agreement = judge(load_predictor(path, "cpu"), test, settings)
    each = (perf_counter() - started) / len(test)
    plain_path = folder / "plain.safetensors"
    trainer.write_checkpoint(plain_path, {LESION_MARGIN: 0.0})
    plain = judge(load_predictor(plain_path, "cpu"), test, settings)
    size = "x".join(map(str, _SIZE))
    return Section(
        "learning",
        "Training on synthetic patients",
        f"{len(training)} patients of {size} voxels to fit and {len(validation)} to choose the"
        f" epoch and the margin of a lesion by (seed {_TRAINING_SEED}), {trainer.epoch} epochs,"
        f" judged on {len(test)} unseen ones (seed {_TEST_SEED}),"
        f" {torch.get_num_threads()} threads.",
        (
            Figure("training", seconds, "s"),
            Figure("margin of a lesion, log odds", _margin(path), ""),
            *_quality(agreement, ""),
            *_quality(plain, "without the margin"),
            Figure("prediction and scores per patient", each, "s", f"{settings.samples} samples"),
        ),
    )


def _cases(scale: Scale, folder: Path, seed: int, count: int) -> list[EvaluationCase]:
    orders = [
        Order(seed, index, _SIZE, folder / "images", folder / "labels") for index in range(count)
    ]
    cases = []
    for patient in make_patients(orders):
        cases.append(_case(patient))
        scale.narrator.progress(f"making synthetic patients, {len(cases)} of {count}")
    return cases


def _case(patient: Patient) -> EvaluationCase:
    image = axial_image(read_volume(patient.image))
    # A phantom is axial and its label lies on its own grid.
    labels = read_label_map(patient.label).array.astype("uint8")
    training = calcium.training_case(
        patient.patient_id, image, labels, covers_calcium=True, covers_regions=True
    )
    return EvaluationCase(image, labels, training)


def _train(
    scale: Scale,
    settings: Settings,
    cases: list[EvaluationCase],
    validation: list[EvaluationCase],
    folder: Path,
) -> tuple[Trainer, float]:
    config = calcium.trainer_config(settings, max_epochs=1 if scale.is_quick else 0, device="cpu")
    training = [case.training for case in cases]
    held_out = [case.training for case in validation]
    trainer = Trainer(calcium.network_config(settings), config, training, held_out, folder / "run")
    started = perf_counter()
    while not trainer.is_finished:
        report = trainer.run_epoch(lambda _: None, lambda: False)
        scale.narrator.progress(f"epoch {report.epoch}/{config.epochs}, {report.seconds:.0f} s")
    return trainer, perf_counter() - started


def _margin(path: Path) -> float:
    """Return how sure of a lesion the checkpoint asks its network to be."""
    return float(str(checkpoint.load(path).facts[LESION_MARGIN]))


def _quality(agreement: Agreement | None, note: str) -> tuple[Figure, ...]:
    if agreement is None:
        return ()
    return (
        Figure("calcium volume F1", agreement.volume_f1, "", note),
        Figure("Agatston ICC(2,1)", agreement.agatston_icc, "", note),
        Figure("Agatston mean absolute error", agreement.agatston_mae, "", note),
        Figure("risk category kappa, linear weights", agreement.category_kappa, "", note),
        Figure("patients with calcium only in the prediction", agreement.false_calcium, "", note),
    )
