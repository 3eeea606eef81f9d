"""``Trainer``, which trains a model for several epochs, with validation, progress and diagnosis."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from striate import habits
from striate.arguments import Explained, explained
from striate.counting import counted
from striate.data.augment import Transform
from striate.data.augment.stage import checked_transforms
from striate.data.dataset import Array, Dataset, require_dataset
from striate.data.loader import batch_count
from striate.distributed import AGREED, Reduce, communicator_of, failing_together, share_threads
from striate.doctor import Doctor, Findings, Setup
from striate.dtypes import Precision
from striate.errors import NonFiniteError, OptionError
from striate.nn.loss import Loss, LossFunction
from striate.nn.module import Module
from striate.optim.optimizer import Optimizer
from striate.options import flag, whole_number
from striate.options import path as checked_path
from striate.options import seed as checked_seed
from striate.step import TrainingStep, checked_weights
from striate.train.callback import Callback
from striate.train.checkpoints import Checkpoints, holds_checkpoint, is_best, newest_checkpoint
from striate.train.early_stopping import EarlyStopping
from striate.train.epoch import VALIDATION_BATCH, EpochLoop, Samples
from striate.train.evaluation import Evaluation, evaluate
from striate.train.fingerprint import Fingerprint
from striate.train.history import History
from striate.train.interruption import Interruption
from striate.train.log import LogFile
from striate.train.place import Place
from striate.train.progress import Plan, Progress, Silent, Together, chosen_progress
from striate.train.ranks import require_same, versions_that_matter, weights_digest
from striate.train.record import Record
from striate.train.requirement import (
    checked_callbacks,
    input_stage,
    matched,
    outlier_warnings,
    require_samples_for,
)
from striate.train.resumption import Resumption, captured, configuration, fingerprints
from striate.train.statistics import recompute_statistics, require_tracking
from striate.train.tta import Views


class Trainer(metaclass=Explained):
    """Trains a model on a data set, epoch by epoch, with validation and a diagnosis of problems.

        trainer = st.Trainer(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.05, momentum=0.9), batch_size=64)
        history = trainer.fit(train_set, validation=held_out, epochs=10)

    seed        0 … 2⁶⁴ − 1, determines the order of the samples, dropout, and the initial values of new parameters;
                the same seed gives the same trained model
    batch_size  samples in a batch, 1 or more; the sizes of batches differ by at most one sample (see ``data.batches``)
    max_norm, clip_value, accumulate, precision
                as in ``TrainingStep``
    ema         as in ``TrainingStep``; the moving averages of the weights are evaluated, and ``fit`` leaves them in the
                model
    shuffle     False keeps the order of the data set
    augment     random changes of the training samples, see ``data.augment``: a list such as
                ``[augment.RandomCrop(padding=4), augment.RandomHorizontalFlip()]``, or text such as "crop:4 flip"
    doctor      whether problems of the training are diagnosed; they are in ``findings`` and shown with the progress
    progress    True: live in a terminal, lines elsewhere; False: nothing; or an object with the methods of ``Progress``
    leave       function called with the exit code on a second Ctrl-C or SIGTERM
    watch       whether a ``Watch`` collects statistics of all layers; without it, nothing is diagnosed
    callbacks   objects of ``train.Callback``, such as ``train.EarlyStopping(patience=5)``
    checkpoints the folder of the run, in which checkpoints are written after every epoch (see ``fit``), or a
                ``train.Checkpoints`` for another interval
    recompute_statistics
                whether the running statistics of normalization layers are computed anew at the end, over all training
                samples (see ``train.recompute_statistics``)
    options     names of options of ``striate train`` that the doctor's remedies may mention; for the command line
    record      a folder in which ``progress.jsonl`` is written during training (see ``train.record``), or a ``Record``
    communicator, reduce, sync_batch_norm
                as in ``TrainingStep``: the ranks (processes) of a communicator of mpi4py share each batch. All ranks
                must make the same calls with the same arguments. Rank 0 alone shows progress, diagnoses and writes
                files. An exception on one rank ends all ranks, see docs/machines.md

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
        recompute_statistics: bool = False,
        options: Collection[str] = (),
        communicator: object = None,
        reduce: str | Reduce = Reduce.FAST,
        sync_batch_norm: bool = True,
    ) -> None:
        self.model = model
        self.seed = checked_seed(seed)
        self.batch_size = whole_number("batch_size", batch_size, 1)
        self.shuffle = flag("shuffle", shuffle)
        self.augment = checked_transforms(augment)
        self.recomputes = flag("recompute_statistics", recompute_statistics)
        if self.recomputes:
            require_tracking(model)
        self._uses_doctor = flag("doctor", doctor) and flag("watch", watch)
        if not isinstance(progress, Progress) or isinstance(progress, type):
            flag("progress", progress)
        if leave is not None and not callable(leave):
            raise OptionError(f"leave={leave!r}; expected a function of the exit code")
        self.ranks = communicator_of(communicator)
        """The ranks (processes) of this training: ``trainer.ranks.rank`` is the number of this one, from 0."""
        if self.ranks.rank:
            record = None  # rank 0 alone writes files
        self.record = record if isinstance(record, Record) or record is None else Record(record)
        if checkpoints is not None and not isinstance(checkpoints, Checkpoints):
            checkpoints = Checkpoints(checkpoints)
        self._checkpoints = checkpoints
        self.callbacks = checked_callbacks(callbacks)
        self.step = TrainingStep(
            model, loss, optimizer, seed=seed, capacity=batch_size, max_norm=max_norm, clip_value=clip_value,
            accumulate=accumulate, ema=ema, precision=precision, communicator=self.ranks, reduce=reduce,
            sync_batch_norm=sync_batch_norm,
        )  # fmt: skip
        self.watch = self.step.watch("*") if watch else None
        self.history = History()
        self.doctor: Doctor | None = None
        self.place = Place()
        """The position of the training, such as its epoch and batch."""
        self._progress = progress
        self._leave = leave
        self._options = tuple(options)

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
        has one number ≥ 0 for each validation sample, which weights it in the validation loss; accuracy counts every
        sample once.

        ``resume`` is the path of a run folder or of a checkpoint from which the training continues, or True for the
        folder of ``Trainer(checkpoints=…)``. With True, a training without a checkpoint starts from the beginning. A
        resumed training ends with the same bits as one that was not interrupted, and ``epochs`` is then the number of
        all epochs. Options may differ from those of the checkpoint, and a message says so; the training data may differ
        only with ``allow_changes``.

            trainer = st.Trainer(model, loss, optimizer, checkpoints="runs/night")
            trainer.fit(train_set, validation=held_out, epochs=100, resume=True)

        Raises ``OptionError`` for fewer than 1 epoch, for anything that is not a data set, and if another training uses
        the folder. Without ``resume``, it is also raised for a folder that contains checkpoints; with ``resume``, for
        changes after which a training cannot be resumed. Raises ``ModelFileError`` for a path without a readable
        checkpoint, and ``NonFiniteError`` with a remedy if the loss or a gradient becomes NaN or infinite. On Ctrl-C,
        SIGTERM or SIGHUP, the running step finishes, a checkpoint is written, and ``KeyboardInterrupt`` is raised.
        """
        share_threads(self.ranks)
        with failing_together(self.ranks, AGREED):
            return self._checked(train_set, validation, epochs, sample_weight, validation_weight, resume, allow_changes)

    def _checked(
        self,
        train_set: Dataset,
        validation: Dataset | None,
        epochs: int,
        sample_weight: Array | None,
        validation_weight: Array | None,
        resume: bool | str | Path,
        allow_changes: bool,
    ) -> History:
        """Train after the arguments of ``fit`` have been checked."""
        epochs = whole_number("epochs", epochs, 1)
        require_dataset(train_set, "the training set")
        if validation is not None:
            require_dataset(validation, "validation")
            validation = matched(validation, train_set)
        if validation_weight is not None and validation is None:
            raise OptionError("validation_weight without validation data\n  help: trainer.fit(…, validation=held_out)")
        weights = None if sample_weight is None else checked_weights(sample_weight, len(train_set))
        validation_weights = (
            None
            if validation is None or validation_weight is None
            else checked_weights(validation_weight, len(validation))
        )
        if self.ranks.size > 1:
            require_samples_for(self.ranks.size, len(train_set), self.batch_size)
        stage = input_stage(train_set, self.augment, self.seed, weights, self.step.loss)
        samples = Samples(train_set, validation, weights, validation_weights, stage)
        if resume is False:
            self._require_no_checkpoints()
        with self._held():
            return self._fit(samples, epochs, self._source(resume), flag("allow_changes", allow_changes))

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
        if self.ranks.rank:
            return
        if checkpoints is not None and self.step.step_number == 0 and holds_checkpoint(checkpoints.run):
            raise OptionError(
                f"{checkpoints.folder}: holds the checkpoints of an earlier training\n"
                "  help: fit(…, resume=True) continues it; or remove them, or give another folder"
            )

    @contextmanager
    def _held(self) -> Generator[None]:
        """Return a context in which the folder of the checkpoints is locked."""
        checkpoints = self._checkpoints
        if checkpoints is None or self.ranks.rank:
            yield
            return
        held = checkpoints.lock.held  # the command line holds it longer
        checkpoints.hold()
        try:
            yield
        finally:
            if not held:
                checkpoints.release()

    def _fit(self, samples: Samples, epochs: int, source: Path | bool, allow_changes: bool) -> History:
        train_set, validation = samples.train_set, samples.validation
        self.history.finished, self.history.stopped, self.history.kept = False, "", None
        self.place = Place(epoch=len(self.history) + 1, told=self.place.told)
        last = epochs if source else len(self.history) + epochs
        notices: list[str] = []
        options, data = configuration(self, samples.weights, samples.validation_weights), {}
        if source or self._checkpoints is not None or self.ranks.size > 1:
            data = fingerprints(train_set, validation)
        resumption: Resumption | None = None
        if isinstance(source, Path):
            saved = newest_checkpoint(source, notices.append)
            resumption = Resumption(saved, self, last, data, options, allow_changes)
            resumption.restore_model(train_set.images.shape[1:])
            self.place = resumption.place
            if self.record is not None and self.record.path.parent.resolve() in (at := source.resolve(), *at.parents):
                self.record.go_on(saved.record)
        size, count = self.batch_size, len(train_set)
        plan = Plan(last, batch_count(count, size), count, size, train_set.unit, self.place.epoch)
        self._require_same_ranks(train_set, last, options, data)
        leads = self.ranks.rank == 0
        progress = self._recorded(chosen_progress(self._progress), train_set) if leads else Silent()
        self.doctor = None
        if self._uses_doctor and leads:
            self.doctor = Doctor(
                self.step, train_set, validation, watch=self.watch, batch_size=size, epochs=last,
                seed=self.seed, shuffle=self.shuffle, command_line=self._options, recompute_statistics=self.recomputes,
            )  # fmt: skip
        checkpoints = self._checkpoints if leads else None

        def save(best: bool) -> None:
            if checkpoints is not None:
                checkpoints.write(captured(self, last, data, options), best)

        with Interruption(self._leave) as interruption:
            loop = EpochLoop(self, samples, checkpoints, save, progress, interruption)
            progress.start(plan)
            if checkpoints is not None:
                checkpoints.complain = progress.warn
            try:
                for line in notices:
                    progress.warn(line)
                for line in outlier_warnings(self.model, train_set, validation):
                    progress.warn(line)
                self._begin(loop, plan, resumption)
                loop.agree_to_stop()
                while self.place.epoch <= last and self.place.stopping is None:
                    epoch = loop.run()
                    if epoch is None:
                        break
                    if self.ranks.size > 1:
                        require_same(self.ranks, {"weights": weights_digest(self.model)})
                    self.history.epochs.append(epoch)
                    self.place.begin_epoch(epoch.number + 1)
                    progress.epoch(epoch)
                    if self.doctor is not None:
                        loop.tell(
                            self.doctor.end_of_epoch(epoch.loss, epoch.validation_loss, epoch.validation_accuracy),
                        )
                    for callback in self.callbacks:
                        callback.after_epoch(self, epoch)
                    loop.agree_to_stop()
                    self._after_epoch(last, save)
                if self.doctor is not None:
                    loop.tell(self.doctor.finish())
                self.history.stopped = self.place.stopping or ""
                for callback in self.callbacks:
                    callback.end(self)
                if self.recomputes:
                    self._recompute(loop)
                self.history.finished = True
                if self.record is not None:
                    self.record.finished = True
            except NonFiniteError as error:
                if self.doctor is not None:
                    loop.tell(self.doctor.broke_down(error))
                raise
            finally:
                self.use_evaluated()
                progress.stop()
        return self.history

    def _require_same_ranks(
        self, train_set: Dataset, last: int, options: dict[str, str], data: dict[str, Fingerprint]
    ) -> None:
        """Raise ``OptionError``, which says what differs, unless all ranks are about to train alike."""
        if self.ranks.size > 1:
            self.model.infer(train_set.images.shape[1:])
            place = f"epoch {self.place.epoch}, batch {self.place.batch}"
            facts = {**options, **versions_that_matter(), "epochs": str(last), "beginning": place}
            facts |= {f"{part} data": str(one) for part, one in data.items()}
            require_same(self.ranks, {**facts, "weights": weights_digest(self.model)})

    def _begin(self, loop: EpochLoop, plan: Plan, resumption: Resumption | None) -> None:
        """Prepare the doctor and the callbacks, and restore their state if the training is resumed."""
        if resumption is not None:
            for line in resumption.notes:
                loop.progress.note(line)
        doctor = self.doctor
        if doctor is not None:
            state = {} if resumption is None else resumption.saved.part("doctor")
            if state:
                doctor.load_state_dict(state)
            else:
                loop.tell(doctor.begin())
        for callback in self.callbacks:
            callback.begin(self, plan)
        if resumption is not None:
            resumption.restore_observers()
        elif self._checkpoints is not None:
            self.model.infer(loop.samples.train_set.images.shape[1:])
            loop.save(False)

    def _after_epoch(self, last: int, save: Callable[[bool], None]) -> None:
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
            save(best)

    def _recompute(self, loop: EpochLoop) -> None:
        """Compute the running statistics of the weights to evaluate anew, over all training samples."""
        self.use_evaluated()
        train_set = loop.samples.train_set
        layers = recompute_statistics(
            self.model, train_set, batch_size=max(self.batch_size, 2), seed=self.seed,
            after_batch=lambda count: loop.raise_if_asked(), communicator=self.ranks,
        )  # fmt: skip
        loop.progress.note(
            f"running statistics of {counted(len(layers), 'normalization')} recomputed over "
            f"{counted(len(train_set), train_set.unit)}"
        )

    def stop(self, reason: str = "a callback stopped the training") -> None:
        """End ``fit`` after the running batch; an epoch that is not complete is left out of the history.

        ``reason`` becomes ``history.stopped``. With several ranks, it suffices that one of them calls this method.
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

        The samples are not augmented. ``tta`` averages the predictions over views of each sample, as in
        ``train.evaluate``.
        """
        with failing_together(self.ranks):
            return evaluate(
                self.model, dataset, VALIDATION_BATCH, loss=self.step.loss, tta=tta, communicator=self.ranks
            )

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

        The doctor diagnoses problems of a training; ``finding.remedy.apply(trainer.setup)`` applies the remedy for one
        of them. Raises ``OptionError`` before a training with the doctor.
        """
        if self.doctor is None:
            raise OptionError("no training with a doctor has run\n  help: trainer.fit(…), with doctor=True")
        return self.doctor.setup

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
