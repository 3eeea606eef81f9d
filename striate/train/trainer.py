"""``Trainer``: epochs of training steps over a data set, with validation and progress."""

from __future__ import annotations

import importlib
import math
import sys
import time
from collections.abc import Callable

from striate.data.dataset import Dataset
from striate.data.loader import batch_count, batches
from striate.errors import OptionError, ShapeError
from striate.nn.loss import Loss
from striate.nn.module import Module
from striate.optim.optimizer import Optimizer
from striate.step import TrainingStep
from striate.train.evaluation import Evaluation, evaluate
from striate.train.history import Epoch, History
from striate.train.interruption import Interruption
from striate.train.progress import Lines, Moment, Plan, Progress, Silent

VALIDATION_BATCH = 256


class Trainer:
    """Trains a model on a data set.

        trainer = st.Trainer(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.05, momentum=0.9), batch_size=64)
        history = trainer.fit(train_set, validation=held_out, epochs=10)

    ``seed`` decides the order of the samples, dropout, and the start of parameters that have no values yet; the same
    seed gives the same model. ``progress`` is True (live on a terminal, lines elsewhere), False, or an object with the
    methods of ``Progress``. ``leave`` is what a second Ctrl-C does.
    """

    def __init__(
        self,
        model: Module,
        loss: Loss,
        optimizer: Optimizer,
        *,
        seed: int = 0,
        batch_size: int = 64,
        progress: bool | Progress = True,
        leave: Callable[[], None] | None = None,
    ) -> None:
        if batch_size < 1:
            raise OptionError(f"batch_size={batch_size}; wanted 1 or more")
        self.model = model
        self.seed = seed
        self.batch_size = batch_size
        self.step = TrainingStep(model, loss, optimizer, seed=seed, capacity=batch_size)
        self.history = History()
        self._progress = progress
        self._leave = leave

    def fit(self, train_set: Dataset, validation: Dataset | None = None, *, epochs: int) -> History:
        """Trains for ``epochs`` more epochs; returns the history of all that this trainer did.

        Raises ``OptionError`` for a number of epochs below 1, ``NonFiniteError`` with the remedy where the training
        breaks down, and ``KeyboardInterrupt`` on Ctrl-C, after the step that was running: the model is then as that
        step left it.
        """
        if epochs < 1:
            raise OptionError(f"epochs={epochs}; wanted 1 or more")
        self._check_validation(train_set, validation)
        self.history.finished = False
        first = len(self.history) + 1
        plan = Plan(first + epochs - 1, batch_count(len(train_set), self.batch_size), len(train_set), self.batch_size)
        progress = chosen_progress(self._progress)
        with Interruption(self._leave) as interruption:
            progress.start(plan)
            try:
                for number in range(first, first + epochs):
                    epoch = self._epoch(number, train_set, validation, progress, interruption)
                    self.history.epochs.append(epoch)
                    progress.epoch(epoch)
            finally:
                progress.stop()
        self.history.finished = True
        return self.history

    def evaluate(self, dataset: Dataset) -> Evaluation:
        """Loss and accuracy on a data set."""
        return evaluate(self.model, dataset, VALIDATION_BATCH)

    def _epoch(
        self,
        number: int,
        train_set: Dataset,
        validation: Dataset | None,
        progress: Progress,
        interruption: Interruption,
    ) -> Epoch:
        total, seen = 0.0, 0
        start = time.perf_counter()
        for index, (x, y, _) in enumerate(batches(train_set, self.batch_size, seed=self.seed, epoch=number - 1)):
            total += self.step(x, y) * len(y)
            seen += len(y)
            interruption.raise_if_asked()
            elapsed = time.perf_counter() - start
            progress.batch(Moment(number, index + 1, seen, total / seen, seen / elapsed))
        seconds = time.perf_counter() - start
        loss: float | None = None
        accuracy: float | None = None
        if validation is not None:
            found = evaluate(
                self.model, validation, VALIDATION_BATCH, after_batch=lambda count: interruption.raise_if_asked()
            )
            loss, accuracy = found.loss, found.accuracy
        return Epoch(number, total / seen, seconds, seen / seconds if seconds else math.inf, loss, accuracy)

    @staticmethod
    def _check_validation(train_set: Dataset, validation: Dataset | None) -> None:
        """Before an epoch is spent on data that cannot be validated."""
        if validation is None:
            return
        ours, theirs = train_set.images.shape[1:], validation.images.shape[1:]
        if ours != theirs or len(validation.classes) > len(train_set.classes):
            raise ShapeError(
                f"validation has samples {theirs} of {len(validation.classes)} classes, "
                f"training {ours} of {len(train_set.classes)}"
            )


def chosen_progress(progress: bool | Progress) -> Progress:
    """The live display on a terminal, lines elsewhere, nothing where it is not wanted."""
    if progress is False:
        return Silent()
    if progress is not True:
        return progress
    if not sys.stderr.isatty():
        return Lines()
    # rich takes a third of the time that ``import striate`` may take, and only a terminal needs it.
    return importlib.import_module("striate.train.display").Live()
