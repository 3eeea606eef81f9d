"""One epoch of a training: all batches, then the held-out data."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from striate.data.augment import InputStage
from striate.data.dataset import Array, Dataset
from striate.data.loader import batches
from striate.doctor import Finding
from striate.nn.module import Module
from striate.train.checkpoints import Checkpoints
from striate.train.epoch_loss import EpochLoss
from striate.train.evaluation import evaluate
from striate.train.history import Epoch
from striate.train.interruption import Interruption
from striate.train.progress import Moment, Progress
from striate.train.waiting import Waiting

if TYPE_CHECKING:
    from striate.train.trainer import Trainer

VALIDATION_BATCH = 256
"""The number of samples in a batch of validation or evaluation."""


@dataclass(frozen=True, eq=False)
class Samples:
    """The data of one call of ``Trainer.fit``.

    train_set           the training data
    validation          the validation data, or None
    weights             a weight ≥ 0 for each training sample; None: all 1
    validation_weights  a weight ≥ 0 for each validation sample; None: all 1
    stage               the stage that augments training samples; None: they are not augmented
    """

    train_set: Dataset
    validation: Dataset | None
    weights: Array | None = None
    validation_weights: Array | None = None
    stage: InputStage | None = None


@dataclass(frozen=True, eq=False)
class EpochLoop:
    """Trains and validates one epoch, or the rest of it, from the position ``trainer.place`` on.

    trainer       the trainer, whose ``place`` moves on after every batch
    samples       the data
    checkpoints   says when a checkpoint is due; None: never
    save          writes a checkpoint; its argument says whether the epoch is the best so far
    progress      shows batches, and findings of the doctor, which diagnoses the training
    interruption  delays Ctrl-C and SIGTERM until the running step has finished
    """

    trainer: Trainer
    samples: Samples
    checkpoints: Checkpoints | None
    save: Callable[[bool], None]
    progress: Progress
    interruption: Interruption

    def run(self) -> Epoch | None:
        """Train and validate one epoch, or the rest of it; returns None if the training was stopped in mid-epoch."""
        trainer, samples, progress = self.trainer, self.samples, self.progress
        step, stage, place, ranks = trainer.step, samples.stage, trainer.place, trainer.ranks
        number = place.epoch
        mean_loss = EpochLoss(step.loss, place.loss_total, place.loss_weight)
        mixed = stage is not None and stage.mixes
        labelled = samples.train_set.is_classification and step.loss.takes_labels and not mixed
        sampled = SampledAccuracy(trainer.model) if progress.live and labelled else None
        if trainer.watch is not None and place.batch == 0:
            trainer.watch.start_pass()
        start = time.perf_counter() - place.seconds
        source = stage.batches if stage is not None else partial(batches, samples.train_set)
        order = Waiting(
            source(
                trainer.batch_size,
                seed=trainer.seed,
                epoch=number - 1,
                shuffle=trainer.shuffle,
                first=place.batch,
                share=(ranks.rank, ranks.size),
            ),
            place.waiting,
        )
        doctor = trainer.doctor
        for x, y, indices in order:
            weights = None if samples.weights is None else samples.weights[indices]
            if weights is not None and not any(ranks.largest(bool(weights.any()))):
                place.batch += 1
                continue
            if sampled is not None:
                sampled.before_step(x, y)
            if doctor is not None:
                doctor.before(x, y)
            loss = step(x, y, weights)
            shared, count = step.shared_totals, len(y)
            if shared is None:
                mean_loss.add(loss, y, weights)
            else:
                mean_loss.add_totals(shared.total, shared.weight)
                count = shared.samples
            place.batch, place.samples = place.batch + 1, place.samples + count
            place.loss_total, place.loss_weight = mean_loss.total, mean_loss.weight
            place.seconds, place.waiting = time.perf_counter() - start, order.seconds
            if doctor is not None:
                self.tell(doctor.after(x, y, loss))
            accuracy = None if sampled is None else sampled.accuracy
            speed = place.samples / max(place.seconds, 1e-9)
            moment = Moment(number, place.batch, place.samples, mean_loss.value, speed, accuracy)
            progress.batch(moment)
            for callback in trainer.callbacks:
                callback.after_batch(trainer, moment)
            if self._leave_or_stop():
                self.save(False)
                return None
            if self.checkpoints is not None and self.checkpoints.due(step.step_number):
                before = time.perf_counter()
                self.save(False)
                start += time.perf_counter() - before
        speed = place.samples / max(place.seconds, 1e-9)
        if samples.validation is None:
            return Epoch(number, mean_loss.value, place.seconds, speed, waiting=place.waiting)
        with trainer.evaluated() as model:
            found = evaluate(
                model, samples.validation, VALIDATION_BATCH, loss=step.loss,
                after_batch=lambda count: self.leave_if_asked(), sample_weight=samples.validation_weights,
                communicator=ranks,
            )  # fmt: skip
        plain = step.loss.is_plain_cross_entropy and samples.validation_weights is None
        entropy = None if plain else known(found.cross_entropy)
        return Epoch(
            number, mean_loss.value, place.seconds, speed, found.loss, known(found.accuracy), entropy, found.mean_error,
            place.waiting, found.f1, found.auc, None if found.r2 is None else known(found.r2),
        )  # fmt: skip

    def agree_to_stop(self) -> None:
        """Stop the training on all ranks (processes) if a callback stopped it on any of them; called between epochs."""
        self._agreed()

    def leave_if_asked(self) -> None:
        """Write a checkpoint and raise ``KeyboardInterrupt`` if Ctrl-C or SIGTERM reached any rank (process)."""
        self._leave_or_stop()

    def raise_if_asked(self) -> None:
        """Raise ``KeyboardInterrupt`` on all ranks (processes) if Ctrl-C or SIGTERM reached any of them."""
        asked, _ = self._agreed()
        if asked:
            self.interruption.raise_if_asked()

    def _leave_or_stop(self) -> bool:
        """Write a checkpoint and raise, as ``leave_if_asked``; return whether any rank has a reason to stop."""
        asked, stopping = self._agreed()
        if asked:
            self.save(False)
            self.interruption.raise_if_asked()
        return stopping

    def _agreed(self) -> tuple[bool, bool]:
        """Return whether a signal came on any rank, and whether any has a reason to stop; all take over both."""
        place = self.trainer.place
        asked, stops = self.trainer.ranks.largest(self.interruption.asked or 0, place.stopping is not None)
        if asked:
            self.interruption.asked = asked
        if stops:
            place.stopping = place.stopping or "another rank stopped the training"
        return bool(asked), bool(stops)

    def tell(self, new: Sequence[Finding]) -> None:
        """Show new findings of the doctor, which diagnoses problems of the training.

        Each is shown only once, and findings that are consequences of others are not shown.
        """
        for finding in new:
            if finding.key not in self.trainer.place.told:
                self.trainer.place.told.append(finding.key)
                if not finding.because:
                    self.progress.finding(finding)


def known(number: float) -> float | None:
    """Return the number, or None if it is NaN."""
    return None if math.isnan(number) else number


class SampledAccuracy:
    """Estimates the training accuracy from some batches, in at most about 1/50 of the training time.

    The batches are predicted before the model learns from them. The attribute ``accuracy`` is the estimate, from 0 to
    1; None before the first batch is predicted.
    """

    def __init__(self, model: Module) -> None:
        self.accuracy: float | None = None
        self._model = model
        self._due = 0.0

    def before_step(self, x: Array, y: Array) -> None:
        """Predict the batch if enough time has passed, and average its accuracy with the previous estimate."""
        start = time.perf_counter()
        if start < self._due:
            return
        logits = np.asarray(self._model(x))
        if logits.ndim != 2:
            return
        found = float((logits.argmax(axis=1) == y).mean())
        self.accuracy = found if self.accuracy is None else (self.accuracy + found) / 2
        end = time.perf_counter()
        # The first prediction includes compilation, so its time says nothing about the next one.
        self._due = end + max(0.2, 50 * (end - start) if self._due else 0.0)
