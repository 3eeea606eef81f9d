"""``Trainer``, which trains a model for several epochs, with validation, progress and diagnosis."""

from __future__ import annotations

import importlib
import math
import sys
import time
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np

from striate import habits
from striate.arguments import Explained, explained
from striate.data.augment import InputStage, Transform
from striate.data.augment.stage import checked_transforms
from striate.data.dataset import Array, Dataset, require_dataset
from striate.data.loader import batch_count, batches
from striate.doctor import Doctor, Finding, Findings, Setup
from striate.dtypes import Precision
from striate.errors import NonFiniteError, OptionError, ShapeError
from striate.nn.loss import LabelLoss, Loss, LossFunction
from striate.nn.module import Module
from striate.optim.optimizer import Optimizer
from striate.options import flag, require_instance, whole_number
from striate.options import path as checked_path
from striate.options import seed as checked_seed
from striate.step import TrainingStep, checked_weights
from striate.train.callback import Callback
from striate.train.checkpoint import Checkpoint
from striate.train.checkpoints import Checkpoints, holds_checkpoint, is_best, newest_checkpoint
from striate.train.early_stopping import EarlyStopping
from striate.train.epoch_loss import EpochLoss
from striate.train.evaluation import Evaluation, evaluate
from striate.train.history import Epoch, History
from striate.train.interruption import Interruption
from striate.train.log import LogFile
from striate.train.outliers import outlier_warning
from striate.train.place import Place
from striate.train.progress import Lines, Moment, Plan, Progress, Silent, Together
from striate.train.record import Record
from striate.train.resumption import Resumption, captured, configuration, fingerprints, nothing_left
from striate.train.tta import Views
from striate.train.waiting import Waiting

VALIDATION_BATCH = 256
"""The number of samples in a batch of validation or evaluation."""


class Trainer(metaclass=Explained):
    """Trains a model on a data set, epoch by epoch, with validation and a diagnosis of problems.

        trainer = st.Trainer(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.05, momentum=0.9), batch_size=64)
        history = trainer.fit(train_set, validation=held_out, epochs=10)

    seed        0 … 2⁶⁴ − 1, determines the order of the samples, dropout, and the initial values of new parameters;
                the same seed gives the same trained model
    batch_size  samples in a batch, 1 or more; the sizes of batches differ by at most one sample (see ``data.batches``)
    precision   as in ``TrainingStep``, which also explains ``max_norm``, ``clip_value``, ``accumulate`` and ``ema``;
                with ``ema`` the moving average of the weights is evaluated, and the model has it after ``fit``
    shuffle     False keeps the order of the data set
    augment     random changes of the training samples, see ``data.augment``: a list such as
                ``[augment.RandomCrop(padding=4), augment.RandomHorizontalFlip()]``, or text such as "crop:4 flip"
    doctor      whether the doctor diagnoses the training; what it finds is in ``findings`` and shown with the progress
    progress    True: live in a terminal, lines elsewhere; False: nothing; or an object with the methods of ``Progress``
    leave       function called with the exit code on a second Ctrl-C or SIGTERM
    watch       False trains without a ``Watch``, which collects statistics of all layers, and so without the doctor
    callbacks   objects of ``train.Callback``, such as ``train.EarlyStopping(patience=5)``
    checkpoints the folder of the run, in which checkpoints are written after every epoch (see ``fit``), or a
                ``train.Checkpoints`` for another interval
    options     the options of ``striate train`` that remedies of the doctor may name; used by the command line
    record      a folder in which ``progress.jsonl`` is written during training (see ``train.record``), or a ``Record``

    Raises ``OptionError`` for an option outside of its range.
    """

    def __init__(
        self,
        model: Module,
        loss: Loss | LossFunction,
        optimizer: Optimizer,
        *,
        seed: int = 0,
        batch_size: int = 64,
        max_norm: float | None = None,
        clip_value: float | None = None,
        accumulate: int = 1,
        ema: float | None = None,
        precision: str | Precision = Precision.full,
        shuffle: bool = True,
        augment: Sequence[Transform] | str = (),
        doctor: bool = True,
        progress: bool | Progress = True,
        leave: Callable[[int], None] | None = None,
        watch: bool = True,
        callbacks: Sequence[Callback] = (),
        record: str | Path | Record | None = None,
        checkpoints: str | Path | Checkpoints | None = None,
        options: Collection[str] = (),
    ) -> None:
        self.model = model
        self.seed = checked_seed(seed)
        self.batch_size = whole_number("batch_size", batch_size, 1)
        self.shuffle = flag("shuffle", shuffle)
        self.augment = checked_transforms(augment)
        self._uses_doctor = flag("doctor", doctor) and flag("watch", watch)
        if not isinstance(progress, Progress) or isinstance(progress, type):
            flag("progress", progress)
        if leave is not None and not callable(leave):
            raise OptionError(f"leave={leave!r}; expected a function of the exit code")
        self.record = record if isinstance(record, Record) or record is None else Record(record)
        if checkpoints is not None and not isinstance(checkpoints, Checkpoints):
            checkpoints = Checkpoints(checkpoints)
        self._checkpoints = checkpoints
        self.callbacks = _callbacks(callbacks)
        self.step = TrainingStep(
            model, loss, optimizer, seed=seed, capacity=batch_size, max_norm=max_norm, clip_value=clip_value,
            accumulate=accumulate, ema=ema, precision=precision,
        )  # fmt: skip
        self.watch = self.step.watch("*") if watch else None
        self.history = History()
        self.doctor: Doctor | None = None
        self.place = Place()
        """The position of the training, such as its epoch and batch."""
        self._progress = progress
        self._leave = leave
        self._options = tuple(options)
        self._weights: Array | None = None
        self._validation_weights: Array | None = None
        self._stage: InputStage | None = None
        self._saving: Callable[[bool], None] = lambda best: None

    @explained
    def fit(
        self,
        train_set: Dataset,
        validation: Dataset | None = None,
        *,
        epochs: int,
        sample_weight: Array | None = None,
        validation_weight: Array | None = None,
        resume: bool | str | Path = False,
        allow_changes: bool = False,
    ) -> History:
        """Train for ``epochs`` more epochs, and return the history of all epochs of this trainer.

        ``sample_weight`` has one number ≥ 0 for each sample of the training set: with 2 a sample counts as if it were
        there twice, with 0 as if it were absent. Batches in which all weights are 0 are skipped. ``validation_weight``
        are such weights of the validation samples in the validation loss; accuracy counts every sample once.

        ``resume`` continues from a checkpoint, and the training ends with the same bits as if nothing had interrupted
        it: the path of a run folder or of a checkpoint, or True for the trainer's own folder, where a training without
        a checkpoint starts from the beginning. ``epochs`` is then the number of all epochs. Options that have changed
        since then take effect, and a message says so; the training data may have changed only with ``allow_changes``.

            trainer = st.Trainer(model, loss, optimizer, checkpoints="runs/night")
            trainer.fit(train_set, validation=held_out, epochs=100, resume=True)

        Raises ``OptionError`` for fewer than 1 epoch, for anything that is not a data set, for a folder that another
        training uses or that has checkpoints of an earlier training which is not resumed, and for changes with which a
        training cannot be resumed; ``ModelFileError`` for a path without a readable checkpoint; ``NonFiniteError`` with
        a remedy if the loss or a gradient becomes NaN or infinite; and ``KeyboardInterrupt`` on Ctrl-C, SIGTERM or
        SIGHUP, after the running step has finished, with its update, and a checkpoint has been written.
        """
        epochs = whole_number("epochs", epochs, 1)
        require_dataset(train_set, "the training set")
        if validation is not None:
            require_dataset(validation, "validation")
        self._check_validation(train_set, validation)
        if validation_weight is not None and validation is None:
            raise OptionError("validation_weight without validation data\n  help: trainer.fit(…, validation=held_out)")
        self._weights = None if sample_weight is None else checked_weights(sample_weight, len(train_set))
        self._validation_weights = (
            None
            if validation is None or validation_weight is None
            else checked_weights(validation_weight, len(validation))
        )
        self._stage = self._input_stage(train_set)
        if resume is False:
            self._require_no_checkpoints()
        with self._held():
            return self._fit(train_set, validation, epochs, self._source(resume), flag("allow_changes", allow_changes))

    def _source(self, resume: object) -> Path | bool:
        """Return the path to resume from, True to start from the beginning, False for more epochs without resuming."""
        if resume is False:
            return False
        if resume is not True:
            return checked_path("resume", resume)
        if self._checkpoints is None:
            raise OptionError("resume=True without checkpoints\n  help: st.Trainer(…, checkpoints=FOLDER)")
        return self._checkpoints.run if holds_checkpoint(self._checkpoints.run) else True

    def _require_no_checkpoints(self) -> None:
        """Raise ``OptionError`` if a new training would replace the checkpoints of an earlier one."""
        checkpoints = self._checkpoints
        if checkpoints is not None and self.step.step_number == 0 and holds_checkpoint(checkpoints.run):
            raise OptionError(
                f"{checkpoints.folder}: holds the checkpoints of an earlier training\n"
                "  help: fit(…, resume=True) continues it; or remove them, or give another folder"
            )

    @contextmanager
    def _held(self) -> Generator[None]:
        """Return a context in which the folder of the checkpoints is locked."""
        checkpoints = self._checkpoints
        if checkpoints is None:
            yield
            return
        held = checkpoints.lock.held  # the command line holds it longer
        checkpoints.hold()
        try:
            yield
        finally:
            if not held:
                checkpoints.release()

    def _fit(
        self, train_set: Dataset, validation: Dataset | None, epochs: int, source: Path | bool, allow_changes: bool
    ) -> History:
        self.history.finished, self.history.stopped, self.history.kept = False, "", None
        self.place = Place(epoch=len(self.history) + 1, told=self.place.told)
        last = epochs if source else len(self.history) + epochs
        notices: list[str] = []
        options, data = configuration(self, self._weights, self._validation_weights), {}
        if source or self._checkpoints is not None:
            data = fingerprints(train_set, validation)
        resumption: Resumption | None = None
        if isinstance(source, Path):
            saved = newest_checkpoint(source, notices.append)
            resumption = Resumption(saved, self, last, data, options, allow_changes)
            resumption.restore_model(train_set.images.shape[1:])
            self.place = resumption.place
            if self.record is not None and self.record.path.parent.resolve() in (at := source.resolve(), *at.parents):
                self.record.go_on(saved.record)
        batch_size, samples = self.batch_size, len(train_set)
        plan = Plan(last, batch_count(samples, batch_size), samples, batch_size, train_set.unit, self.place.epoch)
        progress = self._recorded(chosen_progress(self._progress), train_set)
        self.doctor = None
        if self._uses_doctor:
            self.doctor = Doctor(
                self.step, train_set, validation, watch=self.watch, batch_size=batch_size, epochs=last,
                seed=self.seed, shuffle=self.shuffle, command_line=self._options,
            )  # fmt: skip
        self._saving = lambda best: self._checkpoint(captured(self, last, data, options), best)
        with Interruption(self._leave) as interruption:
            progress.start(plan)
            if self._checkpoints is not None:
                self._checkpoints.complain = progress.warn
            try:
                for line in notices:
                    progress.warn(line)
                self._warn_of_outliers(progress, train_set, validation)
                self._begin(progress, plan, resumption, train_set.images.shape[1:])
                while self.place.epoch <= last and self.place.stopping is None:
                    epoch = self._epoch(train_set, validation, progress, interruption)
                    if epoch is None:
                        break
                    self.history.epochs.append(epoch)
                    self.place.begin_epoch(epoch.number + 1)
                    progress.epoch(epoch)
                    if self.doctor is not None:
                        self._tell(
                            progress,
                            self.doctor.end_of_epoch(epoch.loss, epoch.validation_loss, epoch.validation_accuracy),
                        )
                    for callback in self.callbacks:
                        callback.after_epoch(self, epoch)
                    self._after_epoch(last)
                if self.doctor is not None:
                    self._tell(progress, self.doctor.finish())
                self.history.stopped = self.place.stopping or ""
                for callback in self.callbacks:
                    callback.end(self)
                self.history.finished = True
                if self.record is not None:
                    self.record.finished = True
            except NonFiniteError as error:
                if self.doctor is not None:
                    self._tell(progress, self.doctor.broke_down(error))
                raise
            finally:
                self.use_evaluated()
                self._saving = lambda best: None
                progress.stop()
        return self.history

    def _begin(self, progress: Progress, plan: Plan, resumption: Resumption | None, shape: tuple[int, ...]) -> None:
        """Prepare the doctor and the callbacks, and restore their state if the training is resumed."""
        if resumption is not None:
            for line in resumption.notes or [nothing_left(resumption.saved)]:
                progress.note(line)
        doctor = self.doctor
        if doctor is not None:
            state = {} if resumption is None else resumption.saved.part("doctor")
            if state:
                doctor.load_state_dict(state)
            else:
                self._tell(progress, doctor.begin())
        for callback in self.callbacks:
            callback.begin(self, plan)
        if resumption is not None:
            resumption.restore_observers()
        elif self._checkpoints is not None:
            self.model.infer(shape)
            self._saving(False)

    def _after_epoch(self, last: int) -> None:
        """Write a checkpoint after an epoch, if one is due."""
        if self._checkpoints is None:
            return
        stopping = [one for one in self.callbacks if isinstance(one, EarlyStopping)]
        if stopping:
            best = stopping[0].best == len(self.history)
        else:
            held_out = [epoch.validation_loss for epoch in self.history]
            known = [loss for loss in held_out if loss is not None]
            best = is_best(known if len(known) == len(held_out) else self.history.losses)
        over = self.place.epoch > last or self.place.stopping is not None
        if over or self._checkpoints.due_after_epoch(self.step.step_number, best):
            self._saving(best)

    def _checkpoint(self, checkpoint: Checkpoint, best: bool) -> None:
        if self._checkpoints is not None:
            self._checkpoints.write(checkpoint, best)

    def stop(self, reason: str = "a callback stopped the training") -> None:
        """End ``fit`` after the running batch; an epoch that is not complete is left out of the history.

        ``reason`` becomes ``history.stopped``.
        """
        self.place.stopping = reason

    @contextmanager
    def evaluated(self) -> Generator[Module]:
        """Return a context manager that yields the model with the weights to evaluate.

        With ``ema`` these are the moving averages, otherwise the current weights.
        """
        if not self._averages:
            yield self.model
        else:
            with self.step.averaged() as model:
                yield model

    def use_evaluated(self) -> None:
        """Load the weights to evaluate into the model, until the next training step.

        With ``ema`` these are the moving averages, otherwise the current weights.
        """
        if self._averages:
            self.step.use_average(True)

    @property
    def _averages(self) -> bool:
        """Whether there is a moving average of the weights."""
        return self.step.ema is not None and self.step.step_number > 0

    def evaluate(self, dataset: Dataset, *, tta: Views | str = "") -> Evaluation:
        """Evaluate the model on a data set: compute the trainer's loss, and accuracy or errors.

        The samples are not augmented; ``tta`` averages predictions over views of each, as in ``train.evaluate``.
        """
        return evaluate(self.model, dataset, VALIDATION_BATCH, loss=self.step.loss, tta=tta)

    def __getattr__(self, name: str) -> object:
        raise habits.missing("Trainer", name, dir(type(self)), habits.TRAINER)

    def __repr__(self) -> str:
        """Return the model, loss, optimizer, batch size and history in one line."""
        return (
            f"Trainer({type(self.model).__name__}, {type(self.step.loss).__name__}, {self.step.optimizer.brief()}, "
            f"batch_size={self.batch_size}): {self.history!r}"
        )

    @property
    def findings(self) -> Findings:
        """The findings of the doctor, which diagnoses problems of the training, in the last call of ``fit``.

        Causes come before their symptoms.
        """
        return Findings() if self.doctor is None else self.doctor.findings

    @property
    def setup(self) -> Setup:
        """The model, data and options of the last call of ``fit``, which remedies of the doctor can change.

        A remedy is applied by ``finding.remedy.apply(trainer.setup)``. Raises ``OptionError`` before a training with
        the doctor.
        """
        if self.doctor is None:
            raise OptionError("no training with a doctor has run\n  help: trainer.fit(…), with doctor=True")
        return self.doctor.setup

    def _epoch(
        self, train_set: Dataset, validation: Dataset | None, progress: Progress, interruption: Interruption
    ) -> Epoch | None:
        """Train and validate one epoch, or the rest of it; returns None if a callback stopped it."""
        place, number = self.place, self.place.epoch
        mean_loss = EpochLoss(self.step.loss, place.loss_total, place.loss_weight)
        mixed = self._stage is not None and self._stage.mixes
        labelled = train_set.is_classification and self.step.loss.takes_labels and not mixed
        sampled = SampledAccuracy(self.model) if progress.live and labelled else None
        if self.watch is not None and place.batch == 0:
            self.watch.start_pass()
        start = time.perf_counter() - place.seconds
        source = self._stage.batches if self._stage is not None else partial(batches, train_set)
        order = Waiting(
            source(self.batch_size, seed=self.seed, epoch=number - 1, shuffle=self.shuffle, first=place.batch),
            place.waiting,
        )
        doctor = self.doctor
        for x, y, indices in order:
            weights = None if self._weights is None else self._weights[indices]
            if weights is not None and not weights.any():
                place.batch += 1
                continue
            if sampled is not None:
                sampled.before_step(x, y)
            if doctor is not None:
                doctor.before(x, y)
            loss = self.step(x, y, weights)
            mean_loss.add(loss, y, weights)
            place.batch, place.samples = place.batch + 1, place.samples + len(y)
            place.loss_total, place.loss_weight = mean_loss.total, mean_loss.weight
            place.seconds, place.waiting = time.perf_counter() - start, order.seconds
            if doctor is not None:
                self._tell(progress, doctor.after(x, y, loss))
            accuracy = None if sampled is None else sampled.accuracy
            speed = place.samples / max(place.seconds, 1e-9)
            moment = Moment(number, place.batch, place.samples, mean_loss.value, speed, accuracy)
            progress.batch(moment)
            for callback in self.callbacks:
                callback.after_batch(self, moment)
            self._leave_if_asked(interruption)
            if place.stopping is not None:
                self._saving(False)
                return None
            if self._checkpoints is not None and self._checkpoints.due(self.step.step_number):
                before = time.perf_counter()
                self._saving(False)
                start += time.perf_counter() - before
        speed = place.samples / max(place.seconds, 1e-9)
        if validation is None:
            return Epoch(number, mean_loss.value, place.seconds, speed, waiting=place.waiting)
        with self.evaluated() as model:
            found = evaluate(
                model, validation, VALIDATION_BATCH, loss=self.step.loss,
                after_batch=lambda count: self._leave_if_asked(interruption), sample_weight=self._validation_weights,
            )  # fmt: skip
        plain = self.step.loss.is_plain_cross_entropy and self._validation_weights is None
        entropy = None if plain else known(found.cross_entropy)
        return Epoch(
            number, mean_loss.value, place.seconds, speed, found.loss, known(found.accuracy), entropy, found.mean_error,
            place.waiting,
        )  # fmt: skip

    def _input_stage(self, train_set: Dataset) -> InputStage | None:
        """Return the stage that augments the training samples, or None without augmentation.

        Raises ``OptionError`` for transforms that fit neither the samples nor the loss.
        """
        if not self.augment:
            return None
        pool = None if self._weights is None else np.flatnonzero(self._weights)
        stage = InputStage(train_set, self.augment, seed=self.seed, pool=pool)
        shape = train_set.images.shape[1:]
        if stage.shape != shape:
            raise OptionError(
                f"augment: samples become {stage.shape}, but the network is evaluated on {shape}\n"
                "  help: RandomCrop(padding=…) and RandomResizedCrop() keep the size; or crop the data beforehand"
            )
        loss = self.step.loss
        if stage.mixes and train_set.is_classification and isinstance(loss, LabelLoss) and not loss.takes_probabilities:
            raise OptionError(
                f"augment: MixUp and CutMix make probabilities of the labels, which {loss!r} does not take\n"
                "  help: nn.CrossEntropyLoss() takes them"
            )
        return stage

    def _leave_if_asked(self, interruption: Interruption) -> None:
        """Write a checkpoint and raise ``KeyboardInterrupt`` if Ctrl-C was pressed or SIGTERM came."""
        if interruption.asked is not None:
            self._saving(False)
            interruption.raise_if_asked()

    def _recorded(self, progress: Progress, train_set: Dataset) -> Progress:
        """Return the progress combined with the record, if there is one."""
        record = self.record
        if record is None:
            return progress
        record.of(self.step, self.watch)
        record.model = record.model or type(self.model).__name__
        record.data = record.data or train_set.name
        record.complain = progress.warn
        return Together(progress, record, LogFile(record.path.parent))

    def _tell(self, progress: Progress, new: Sequence[Finding]) -> None:
        """Show new findings of the doctor, each only once, without those that are consequences of others."""
        for finding in new:
            if finding.key not in self.place.told:
                self.place.told.append(finding.key)
                if not finding.because:
                    progress.finding(finding)

    def _warn_of_outliers(self, progress: Progress, train_set: Dataset, validation: Dataset | None) -> None:
        """Warn about outliers in the training and validation data.

        The standardizer may have been fitted to other data than either.
        """
        for dataset, part in ((train_set, "training"), (validation, "validation")):
            text = None if dataset is None else outlier_warning(self.model, dataset.images, f"{dataset.name} ({part})")
            if text is not None:
                progress.warn(text)

    @staticmethod
    def _check_validation(train_set: Dataset, validation: Dataset | None) -> None:
        """Raise ``ShapeError`` for validation data that do not fit the training data, before training."""
        if validation is None:
            return
        if train_set.labels.shape[1:] != validation.labels.shape[1:]:
            raise ShapeError(
                f"validation has targets of shape {validation.labels.shape[1:]}, training {train_set.labels.shape[1:]}"
            )
        ours, theirs = train_set.images.shape[1:], validation.images.shape[1:]
        if ours != theirs or len(validation.classes) > len(train_set.classes):
            raise ShapeError(
                f"validation has samples {theirs} of {len(validation.classes)} classes, "
                f"training {ours} of {len(train_set.classes)}"
            )


def _callbacks(given: object) -> tuple[Callback, ...]:
    """Return the callbacks as a tuple; raises ``OptionError`` for anything but a sequence of callbacks."""
    if isinstance(given, Sequence):
        found = tuple(cast("Sequence[object]", given))
        for one in found:
            require_instance("callbacks", one, Callback, "train.EarlyStopping(patience=5)")
        return cast("tuple[Callback, ...]", found)
    raise OptionError(f"callbacks={given!r:.200}; expected a list of callbacks")


def known(number: float) -> float | None:
    """Return the number, or None if it is NaN."""
    return None if math.isnan(number) else number


class SampledAccuracy:
    """An estimate of the training accuracy from some batches, which takes at most 1/50 of the time.

    The batches are predicted before the model learns from them. ``accuracy`` is from 0 to 1; None before the first
    estimate.
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
        found = float((logits.argmax(axis=1) == y).mean()) if logits.ndim == 2 else 0.0
        self.accuracy = found if self.accuracy is None else (self.accuracy + found) / 2
        end = time.perf_counter()
        # The first prediction includes compilation, so its time says nothing about the next one.
        self._due = end + max(0.2, 50 * (end - start) if self._due else 0.0)


def chosen_progress(progress: bool | Progress) -> Progress:
    """Return the display for the option ``progress``.

    True means the live display in a terminal and lines elsewhere; False means a ``Progress`` that shows nothing. An
    object is returned unchanged.
    """
    if progress is False:
        return Silent()
    if progress is not True:
        return progress
    if not sys.stderr.isatty():
        return Lines()
    # Imported here, because rich is slow to import and only needed in a terminal.
    return importlib.import_module("striate.train.display").Live()
