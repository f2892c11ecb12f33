"""Training by epochs: repeatable by seed, resumable after a kill, stoppable at any batch.

An epoch is a fixed number of batches, not a walk through all slices, so its duration does
not grow with the number of labels. Every random draw of a batch comes from the seed, the
epoch and the batch number; a resumed training therefore needs no generator state and goes
on exactly as it would have. The exponential moving average of the weights is what is
validated and kept.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..checkpoint import SUFFIX, Checkpoint, JsonValue, save
from ..dropout import draw_masks
from ..network import MultiTaskNetwork, NetworkConfig
from ..operating_point import LESION_MARGIN
from . import training_state
from .dataset import Batch, SliceSampler, TrainingCase, make_batch, patch_size
from .operating_point import margin_steps
from .optimization import (
    are_finite,
    copy_buffers,
    copy_weights,
    follow,
    load_network,
    make_optimizer,
    put_back_buffers,
)
from .portions import Portion, add_gradients
from .reports import DivergedError, EpochReport, check_convergence
from .schedules import TurnSampler, plan_turns, take_turn
from .starting import begin_near, recalculate_normalization, weights_digest
from .trainer_config import TrainerConfig
from .training_state import TrainingState
from .validation import StoppedValidationError, Validation, validate
from .weighting import HomoscedasticWeighting, make_weighting

STATE_NAME = "last-state" + SUFFIX
"""File in the training's folder from which it goes on."""

_NORMALIZATION_SLICES = 64
"""Slices whose statistics a training begins with that does not begin fresh."""

_GRADIENT_NORM = 2.0
"""Gradients are scaled down to this norm."""


class Trainer:
    """Train a network on labeled volumes, one epoch per call.

    Not for use by several threads at a time. Everything is kept under ``folder``.
    """

    _margin: float | None

    def __init__(
        self,
        network_config: NetworkConfig,
        trainer_config: TrainerConfig,
        training: list[TrainingCase],
        validation: list[TrainingCase],
        folder: Path,
        initial: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Build the network from the seed, and from the weights before where it shall begin there.

        Args:
            network_config: Shape of the network.
            trainer_config: How it is trained.
            training: Cases to fit.
            validation: Cases to choose the best epoch by.
            folder: Where the training's state is kept.
            initial: Weights of the version before; left aside by a fresh start.

        Raises:
            ValueError: If there is nothing to train on, or the weights before belong to a
                network of another shape.
        """
        if not training:
            raise ValueError("training needs at least one labeled volume")
        if trainer_config.schedule == "independent" and initial is None:
            raise ValueError("heads are trained independently on a given encoder, got none")
        self._config = trainer_config
        self._network_config = network_config
        self._training = training
        self._validation = validation
        self._folder = folder
        self._initial = None if trainer_config.start == "fresh" else initial
        self._initial_digest = None if self._initial is None else weights_digest(self._initial)
        names = tuple(task.name for task in network_config.tasks)
        turns = plan_turns(trainer_config.schedule, trainer_config.turns, names)
        self._sampler = TurnSampler(training, turns, trainer_config.sampling.shares)
        self._patch_size = patch_size(training, trainer_config.sampling, network_config.multiple)
        self._description = training_state.describe(
            network_config, trainer_config, self._initial_digest, training, validation
        )
        self._portion = Portion(trainer_config.batch_size, trainer_config.device)
        self._portion.fit(self._begin, lambda: None)

    @property
    def epoch(self) -> int:
        """Number of epochs done."""
        return self._epoch

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """Best averaged weights so far, to begin another training with."""
        return dict(self._best)

    @property
    def is_finished(self) -> bool:
        """Whether all epochs are done or validation stopped getting better."""
        patience = self._config.patience
        warm_up_epochs = self._config.warm_up_steps // self._config.steps_per_epoch
        since = max(self._best_epoch, warm_up_epochs)
        is_stale = patience is not None and self._epoch - since >= patience
        return self._epoch >= self._config.epochs or (bool(self._validation) and is_stale)

    def resume(self) -> bool:
        """Go on from the last epoch kept in the folder.

        Returns:
            Whether there was one.

        Raises:
            ValueError: If the folder holds the state of another training.
        """
        path = self._folder / STATE_NAME
        if not path.exists():
            return False
        state = training_state.read_state(path)
        if state.progress["training"] != self._description:
            raise ValueError("the folder holds the state of another configuration or other cases")
        self._restore(state)
        return True

    def run_epoch(
        self, on_progress: Callable[[float], None], should_stop: Callable[[], bool]
    ) -> EpochReport:
        """Train for one epoch, validate, and keep the state.

        Args:
            on_progress: Told the finished fraction of the epoch after every batch.
            should_stop: Asked before every batch, also of the validation; when it says yes the
                trainer goes back to the end of the epoch before and the report is marked
                canceled.

        Raises:
            DivergedError: If the loss is not finite several times in a row.
            MemoryShortageError: If the processor has no memory for a single slice.
        """
        started = time.monotonic()
        losses: list[float | None] = []
        try:
            validation = self._portion.fit(
                partial(self._try_epoch, losses, on_progress, should_stop), self._go_back
            )
        except StoppedValidationError:
            self._go_back()
            return self._report(losses, None, started, is_canceled=True)
        self._epoch += 1
        self._margin = None
        self._keep_best(validation)
        self._write_state()
        return self._report(losses, validation, started, is_canceled=False)

    def choose_margin(self, should_stop: Callable[[], bool]) -> Generator[float, None, None]:
        """Choose how sure the best weights must be of a lesion; the fraction done after each case.

        The validation cases tell; without any of them half is enough.

        Args:
            should_stop: Asked before every batch.

        Raises:
            StoppedValidationError: If ``should_stop`` said yes.
        """

        def begin() -> Generator[float, None, float | None]:
            network = load_network(self._network_config, self._best, self._portion.device)
            return margin_steps(network, self._validation, self._portion.slices, should_stop)

        self._margin = (yield from self._portion.fit_steps(begin)) or 0.0

    def write_checkpoint(self, path: Path, card: Mapping[str, JsonValue]) -> str:
        """Write the best averaged weights with a card; returns the SHA-256 of the weights.

        The card says how sure the network must be of a lesion, chosen here unless it was before.

        Raises:
            DivergedError: If a weight is not finite.
        """
        if not are_finite(self._best.values()):
            raise DivergedError("the weights are not finite; train again with a smaller rate")
        if self._margin is None:
            deque(self.choose_margin(lambda: False), maxlen=0)
        facts: dict[str, JsonValue] = {
            "epochs": self._epoch,
            "best_epoch": self._best_epoch,
            "best_validation_loss": self._best_loss,
            "start": "fresh" if self._initial is None else self._config.start,
            "initial_weights": self._initial_digest,
            "schedule": self._config.schedule,
            LESION_MARGIN: self._margin,
            "task_weights": dict(self._weighting.task_weights()),
            **card,
        }
        return save(path, Checkpoint(self._network_config, self._best, facts))

    def _build(self) -> None:
        """Build everything as it is before the first epoch of a fresh training."""
        config, device = self._network_config, self._portion.device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._config.seed)
            weights = MultiTaskNetwork(config).state_dict()
        self._network = load_network(config, weights, device)
        self._average = load_network(config, weights, device)
        shares = {task.name: 1.0 for task in config.tasks} | dict(self._config.task_weights)
        self._weighting = make_weighting(self._config.weighting, shares).to(device)
        modules = {"network": self._network, "average": self._average}
        self._modules: dict[str, nn.Module] = {**modules, "weighting": self._weighting}
        self._optimizer = make_optimizer(
            self._network,
            self._weighting,
            rate=self._config.peak_rate,
            weight_decay=self._config.weight_decay,
        )
        self._epoch = 0
        self._best_epoch = 0
        self._best_loss: float | None = None
        self._margin = None
        self._best = copy_weights(self._average)

    def _begin(self) -> None:
        """Build everything and go to the weights before, with statistics of these cases."""
        self._build()
        if self._initial is None:
            return
        begin_near(self._network, self._initial, self._config)
        if self._config.renews_statistics:
            self._recalculate_normalization()
        self._average.load_state_dict(self._network.state_dict())
        self._best = copy_weights(self._average)

    def _recalculate_normalization(self) -> None:
        rng = np.random.default_rng((self._config.seed, 0, self._config.total_steps))
        count = -(-_NORMALIZATION_SLICES // self._config.batch_size)
        sampler = SliceSampler(self._training, self._config.sampling.shares)
        recalculate_normalization(
            self._network,
            (
                part.to(self._portion.device)
                for _ in range(count)
                for part in torch.split(self._draw_batch(sampler, rng).inputs, self._portion.slices)
            ),
        )

    def _try_epoch(
        self,
        losses: list[float | None],
        on_progress: Callable[[float], None],
        should_stop: Callable[[], bool],
    ) -> Validation | None:
        """Train on the batches of an epoch, told in ``losses``, and validate."""
        losses.clear()
        for number in range(self._config.steps_per_epoch):
            if should_stop():
                raise StoppedValidationError
            losses.append(self._step(number))
            check_convergence(losses, self._epoch + 1)
            on_progress((number + 1) / self._config.steps_per_epoch)
        return self._validate(self._epoch + 1, should_stop)

    def _step(self, number: int) -> float | None:
        """Train on one batch; None when the step was left out."""
        step = self._epoch * self._config.steps_per_epoch + number
        rng = np.random.default_rng([self._config.seed, step])
        turn = self._sampler.turn(step)
        favours_new = self._config.favours_new_cases(step)
        batch = self._draw_batch(self._sampler.sampler(turn, favours_new=favours_new), rng)
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        masks = draw_masks(self._network_config.dropout_sites(), batch.inputs.shape[0], generator)
        take_turn(self._network, turn)
        statistics = copy_buffers(self._network)
        self._optimizer.zero_grad(set_to_none=True)
        loss = add_gradients(
            self._network, self._weighting, batch, masks, turn.tasks, self._portion
        )
        if loss is None:
            return None
        norm = nn.utils.clip_grad_norm_(self._network.parameters(), _GRADIENT_NORM)
        # An overflow in a batch can spoil its statistics while the loss stays finite.
        if not are_finite([loss, norm, *self._network.buffers()]):
            put_back_buffers(self._network, statistics)
            return None
        self._apply(step)
        return float(loss)

    def _apply(self, step: int) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = self._config.rate(step)
        self._optimizer.step()
        if isinstance(self._weighting, HomoscedasticWeighting):
            self._weighting.clamp()
        # Early weights are poor: the average forgets them faster at the beginning.
        decay = min(self._config.average_decay, (1 + step) / (10 + step))
        follow(self._average, self._network, decay)

    def _draw_batch(self, sampler: SliceSampler, rng: np.random.Generator) -> Batch:
        items = sampler.draw(self._config.batch_size, rng)
        return make_batch(
            items, self._patch_size, self._network_config, self._config.sampling.augmentation, rng
        )

    def _validate(self, epoch: int, should_stop: Callable[[], bool]) -> Validation | None:
        is_last = epoch >= self._config.epochs
        if not self._validation or not (is_last or epoch % self._config.validate_every == 0):
            return None
        return validate(
            self._average,
            self._validation,
            self._config.batch_size,
            self._portion.device,
            self._sampler.tasks,
            should_stop,
            at_once=self._portion.slices,
        )

    def _keep_best(self, validation: Validation | None) -> None:
        """Keep the averaged weights if they are the best, or the last without validation."""
        if self._validation and validation is None:
            return
        loss = None if validation is None else validation.loss
        best = math.inf if self._best_loss is None else self._best_loss
        # A loss that is not finite is below none.
        if loss is None or loss < best:
            self._best_loss = loss
            self._best_epoch = self._epoch
            self._best = copy_weights(self._average)

    def _report(
        self,
        losses: list[float | None],
        validation: Validation | None,
        started: float,
        *,
        is_canceled: bool,
    ) -> EpochReport:
        done = [loss for loss in losses if loss is not None]
        return EpochReport(
            epoch=self._epoch,
            is_canceled=is_canceled,
            training_loss=sum(done) / len(done) if done else None,
            validation=validation,
            task_weights=self._weighting.task_weights(),
            skipped_steps=len(losses) - len(done),
            seconds=time.monotonic() - started,
            shortage=self._portion.shortage,
        )

    def _write_state(self) -> None:
        progress: dict[str, JsonValue] = {
            "epoch": self._epoch,
            "best_epoch": self._best_epoch,
            "best_loss": self._best_loss,
            "training": self._description,
            "slices_at_once": self._portion.slices,
        }
        tensors = training_state.gather(self._modules, self._optimizer, self._best)
        self._folder.mkdir(parents=True, exist_ok=True)
        training_state.write_state(self._folder / STATE_NAME, TrainingState(tensors, progress))

    def _restore(self, state: TrainingState) -> None:
        self._build()
        self._best = training_state.put_back(self._modules, self._optimizer, state.tensors)
        self._epoch = int(str(state.progress["epoch"]))
        self._best_epoch = int(str(state.progress["best_epoch"]))
        best_loss = state.progress["best_loss"]
        self._best_loss = None if best_loss is None else float(str(best_loss))
        slices = state.progress.get("slices_at_once", self._config.batch_size)
        self._portion.take_up(int(str(slices)))

    def _go_back(self) -> None:
        """Return to the end of the last whole epoch, or to the weights that were begun with."""
        if self._epoch == 0 or not self.resume():
            begun = self._best  # No epoch was better yet.
            self._build()
            self._network.load_state_dict(begun)
            self._average.load_state_dict(begun)
            self._best = begun
