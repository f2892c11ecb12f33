"""One round of the loop: rank, label, train, judge."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from server.demo.annotator import Annotator
from server.demo.client import AnnotationClient
from server.demo.comparison import compare, load_scan, summarise
from server.demo.narration import Narrator
from server.demo.patients import Patient
from server.demo.plan import DemoPlan
from server.demo.records import Judgement, RoundRecord
from server.demo.waiting import Step, Waiting

_ENOUGH: Final = 0.9
"""Share of the unlabeled images that has to be predicted before the next sample is asked for."""

_FIRST_STRATEGY, _STRATEGY = "random", "uncertainty"
"""Before there is a model every image is as good as another."""


@dataclass(frozen=True)
class Loop:
    """Plays the rounds.

    Attributes:
        plan: What to do.
        client: Way to the server.
        annotator: Labels images.
        test: Patients to judge the model on.
        folder: Where masks of predictions go.
        real: Ids of the real scans, for whose ranking nobody waits: they are large.
        waiting: Waits for the server.
        narrator: Says what happens.
    """

    plan: DemoPlan
    client: AnnotationClient
    annotator: Annotator
    test: Sequence[Patient]
    folder: Path
    real: frozenset[str]
    waiting: Waiting
    narrator: Narrator

    def play(self, number: int, label_count: int) -> RoundRecord:
        """Play round ``number``, from 1, with ``label_count`` labels in the store before."""
        strategy = _FIRST_STRATEGY if number == 1 else _STRATEGY
        goal = self.plan.label_goals[number - 1]
        self.narrator.say(
            f"Round {number} of {self.plan.rounds}: labeling {goal - label_count} images, chosen"
            f" by the strategy '{strategy}'"
        )
        ranking_s = self._wait_for_ranking() if number > 1 else 0.0
        result = self.annotator.label(goal - label_count, strategy, has_model=number > 1)
        return RoundRecord(
            number=number,
            strategy=strategy,
            labels=result.labels,
            label_count=goal,
            skipped=result.skipped,
            ranking_s=ranking_s,
            training_s=self._train(goal),
            judgement=self._judge(number),
        )

    def _wait_for_ranking(self) -> float:
        """Wait until the model has predicted enough of the pool to rank it; returns seconds."""
        started = time.monotonic()

        def look() -> Step:
            predicted, unlabeled = self.client.unlabeled_images()
            done, count = len(predicted - self.real), len(unlabeled - self.real)
            text = f"ranking the pool: {done} of {count} unlabeled images predicted"
            return Step(done >= _ENOUGH * count, done, text)

        self.waiting.until_done(look)
        return time.monotonic() - started

    def _train(self, label_count: int) -> float:
        """Train on every label; returns seconds."""
        self.narrator.say(f"  training on {label_count} labels, {self.plan.epochs} epochs")
        started = time.monotonic()
        self.client.start_training(self.plan.epochs)

        def look() -> Step:
            status = self.client.training()
            text = f"training {status.progress:4.0%}: {status.line}"
            return Step(status.status == "DONE", status.progress, text)

        self.waiting.until_done(look)
        return time.monotonic() - started

    def _judge(self, number: int) -> Judgement:
        """Predict the patients to test on and compare with what is known of them."""
        started = time.monotonic()
        predictions, comparisons = [], []
        for place, patient in enumerate(self.test, start=1):
            prediction = self.client.infer_file(patient.image, self.folder / f"round-{number}")
            one = compare(load_scan(patient.image, patient.label), prediction)
            predictions.append(prediction)
            comparisons.append(one)
            self.narrator.progress(
                f"testing {place}/{len(self.test)}: Agatston {one.found_agatston:.0f} found,"
                f" {one.true_agatston:.0f} true"
            )
        figures = summarise(comparisons)
        self.narrator.say(
            f"  on {figures.patients} patients it has never seen: calcium volume F1"
            f" {figures.volume_f1:.2f}, Agatston ICC {figures.agatston_icc:.2f},"
            f" mean error {figures.agatston_mae:.0f}"
        )
        seconds = time.monotonic() - started
        return Judgement(figures, tuple(comparisons), tuple(predictions), seconds)
