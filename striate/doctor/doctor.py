"""``Doctor`` watches a training, applies the rules, and reports what is wrong.

The trainer has a doctor by default. In a loop of your own::

    doctor = Doctor(step)
    for x, y in …:
        loss = doctor(x, y)              # runs the step and observes it
    doctor.end_of_epoch(mean_loss)
    print(doctor.finish())
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from striate import options
from striate.data.dataset import Dataset, require_dataset
from striate.data.standardizer import standardizer_of
from striate.doctor import rules
from striate.doctor.finding import Finding, Findings
from striate.doctor.kept import KeptBatches
from striate.doctor.measuring import (
    compare_modes,
    count_labels,
    count_silent,
    measure_first_move,
    measure_predictions,
    measure_targets,
    measure_weights,
)
from striate.doctor.probe import constant_loss
from striate.doctor.ranking import ranked
from striate.doctor.reading import Statistics, reading_of
from striate.doctor.rule import RULES, When, applied
from striate.doctor.sample import Sample
from striate.doctor.setup import Setup
from striate.doctor.starting import look_at_model
from striate.doctor.state import ReadingTexts, as_bytes, document_of, restore_trace, trace_arrays, trace_document
from striate.doctor.structure import Structure
from striate.doctor.training_trace import TrainingTrace
from striate.errors import StriateError
from striate.persistence.plain import read_as, to_plain
from striate.step import TrainingStep
from striate.watch import Watch

Array = npt.NDArray[Any]
FIRST = 10

assert rules  # importing the rules registers them


class Doctor:
    """Watches one training step and collects findings, ranked by what to change first.

    step          the ``TrainingStep`` to watch
    train_set     training data, examined once before the first step; None: the first batch is examined instead
    validation    validation data, examined at the same time as ``train_set``
    watch         a ``Watch`` of the step, which records statistics of its layers; None: a new one on all layers
    batch_size, epochs, seed, shuffle    how the training is run; remedies refer to them
    command_line  options of ``striate train`` that remedies may name, such as "--lr"
    recompute_statistics  whether running statistics are computed anew at the end of the training

    At most 1,000 samples of each data set are examined, except that the search for exact duplicates reads all samples.
    The watch is read in the first ten steps, in steps whose number is a power of two, and about four times an epoch or,
    without a ``train_set``, every 16 steps. The doctor does not change the training, and uses no random numbers of the
    training.

    Raises ``OptionError`` unless ``step`` is a ``TrainingStep`` and the data sets are ``Dataset`` objects or None.
    """

    def __init__(
        self,
        step: TrainingStep,
        train_set: Dataset | None = None,
        validation: Dataset | None = None,
        *,
        watch: Watch | None = None,
        batch_size: int = 64,
        epochs: int = 1,
        seed: int = 0,
        shuffle: bool = True,
        command_line: Collection[str] = (),
        recompute_statistics: bool = False,
    ) -> None:
        options.require_instance("step", step, TrainingStep, "st.TrainingStep(model, loss, optimizer)")
        for name, dataset in (("train_set", train_set), ("validation", validation)):
            if dataset is not None:
                require_dataset(dataset, name)
        setup = Setup(
            step.model, step.loss, step.optimizer, train_set, validation, batch_size, epochs, seed, shuffle,
            tuple(command_line), recompute_statistics,
        )  # fmt: skip
        self.step = step
        self.watch = step.watch("*") if watch is None else watch
        self.trace = TrainingTrace(setup, continued=step.step_number > 0)
        self._found: dict[tuple[str, str], Finding] = {}
        self._before: Statistics | None = None
        self._sizes: dict[str, float] = {}
        self._began = False
        self._pass_ended = False
        self._first_fired: dict[str, Array] = {}
        self._kept = KeptBatches(self.trace)
        self._epoch_sum = [0.0, 0]
        self._reading_texts = ReadingTexts()

    # Called by the trainer, or by the user's loop

    @property
    def setup(self) -> Setup:
        """The setup of this training, which a remedy can change: ``finding.remedy.apply(doctor.setup)``."""
        return self.trace.setup

    @property
    def findings(self) -> Findings:
        """All findings so far, ranked by what to change first: causes before their symptoms."""
        return ranked(self._found.values())

    def begin(self) -> list[Finding]:
        """Examine the data sets and the model before the first step; return the new findings.

        Without a ``train_set``, this method does nothing, and the first batch is examined before the first step.
        """
        self._began = True
        trace, setup = self.trace, self.trace.setup
        if setup.train_set is None:
            return []
        standardizer = standardizer_of(setup.model)
        trace.data = Sample.of(setup.train_set, standardizer)
        if setup.validation is not None:
            trace.validation = Sample.of(setup.validation, standardizer)
        self._sizes = look_at_model(trace, setup.model, setup.train_set.images.shape[1:])
        if setup.classifies:
            trace.baseline = constant_loss(trace.data.class_shares, setup.loss, setup.batch_size)
        return self._examine(When.START)

    def before(self, x: Any, y: Any) -> None:
        """Prepare for a step; call it before the step runs, with the inputs x and labels y of the batch.

        If no data have been examined yet, this batch is examined.
        """
        if not self._began:
            self._begin_with(np.asarray(x), np.asarray(y))
        if self._pass_ended:
            self.watch.start_pass()
            self._pass_ended = False
        self._before = None
        if self._due(self.step.step_number - self._origin + 1):
            self._before = Statistics(self.trace.structure)

    def after(self, x: Any, y: Any, loss: float) -> list[Finding]:
        """Record a step; call it after the step has run, with the batch (x, y) and its loss.

        After steps 3 and 10 the rules are applied and the new findings are returned; after any other step the list is
        empty. Statistics of the layers are recorded in some of the steps, as the class describes.
        """
        trace = self.trace
        trace.losses.append(loss)
        self._epoch_sum[0] += loss
        self._epoch_sum[1] += 1
        count_labels(trace, np.asarray(y))
        if trace.steps == 1:
            measure_first_move(trace, self.step.update_views(), self._sizes)
            self._first_fired = {path: np.asarray(share) > 0 for path, share in self.watch.firing().items()}
        self._kept.add(np.asarray(x), np.asarray(y))
        if self._before is None:
            return []
        reading = reading_of(self.watch.record(), trace.epochs + 1, loss)
        trace.readings.append(replace(reading, step=trace.steps))
        with np.errstate(all="ignore"):
            for path, drift in self._before.drifts().items():
                trace.drifts.setdefault(path, []).append(drift)
        return self._examine(When.EARLY) if trace.steps in (3, FIRST) else []

    def __call__(self, x: Any, y: Any) -> float:
        """Run one training step on the batch, observe it, and return its loss."""
        self.before(x, y)
        loss = self.step(x, y)
        self.after(x, y, loss)
        return loss

    def end_of_epoch(
        self,
        loss: float | None = None,
        validation_loss: float | None = None,
        validation_accuracy: float | None = None,
    ) -> list[Finding]:
        """Record the end of an epoch and apply the rules; return the new findings.

        loss                 mean training loss of the epoch; None: the mean over the observed steps
        validation_loss      mean validation loss, if there is one
        validation_accuracy  validation accuracy from 0 to 1, if there is one
        """
        trace = self.trace
        total, count = self._epoch_sum
        trace.epoch_losses.append(total / max(count, 1) if loss is None else loss)
        trace.validation_losses.append(validation_loss)
        trace.validation_accuracies.append(validation_accuracy)
        self._epoch_sum = [0.0, 0]
        if trace.setup.train_set is None and trace.labels_seen.any():
            shares = trace.labels_seen / trace.labels_seen.sum()
            trace.baseline = constant_loss(shares, trace.setup.loss, trace.setup.batch_size)
        count_silent(trace, self.watch, self._first_fired)
        self._pass_ended = True  # the next step starts a new pass; until then the user may read the watch
        measure_weights(trace, self._sizes)
        with np.errstate(all="ignore"):
            measure_targets(trace, self._kept)
            measure_predictions(trace, self._kept)
        return self._examine(When.EPOCH)

    def broke_down(self, error: StriateError) -> list[Finding]:
        """Record that the step raised ``error``, a ``NonFiniteError``, and apply the rules; return the new findings."""
        self.trace.broke_down = str(error).splitlines()[0]
        self.trace.finished = True
        with np.errstate(all="ignore"):
            measure_targets(self.trace, self._kept)
        return self._examine(When.EPOCH)

    def finish(self) -> Findings:
        """Record the end of the training, apply the rules a last time, and return all findings."""
        self.trace.finished = True
        with np.errstate(all="ignore"):
            compare_modes(self.trace, self._kept, self.watch)
        self._examine(When.EPOCH)
        return self.findings

    def close(self) -> None:
        """Close the ``Watch`` that the doctor reads, so that the step no longer computes statistics of layers."""
        self.watch.close()

    # What a checkpoint holds

    def state_dict(self) -> dict[str, Array]:
        """Return all observations and findings so far as arrays, without the data and the model."""
        document = {
            "trace": trace_document(self.trace),
            # Changes are not read back: they belong to the setup of this process.
            "found": [replace(one, remedy=replace(one.remedy, changes=())).to_json() for one in self.findings],
            "sizes": to_plain(self._sizes),
            "epoch_sum": to_plain(self._epoch_sum),
            "pass_ended": self._pass_ended,
        }
        first_fired = {f"first_fired.{path}": array for path, array in self._first_fired.items()}
        readings = self._reading_texts.as_bytes(self.trace.readings)
        return {"document": as_bytes(document), "readings": readings, **trace_arrays(self.trace), **first_fired}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Continue from a state that ``state_dict`` returned; call it instead of ``begin``.

        Without a ``train_set``, the next batch is examined before its step. The model must already have its restored
        weights. The findings of the state are restored, but the remedy of a finding can be applied only after the same
        fault has been found again. Raises ``ModelFileError`` for a malformed state.
        """
        document = document_of(state, "document", "the doctor's state")
        trace, setup = self.trace, self.trace.setup
        self._began = setup.train_set is not None  # otherwise the next batch is examined
        if setup.train_set is not None:
            standardizer = standardizer_of(setup.model)
            trace.data = Sample.of(setup.train_set, standardizer)
            if setup.validation is not None:
                trace.validation = Sample.of(setup.validation, standardizer)
            trace.structure = Structure.of(setup.model, setup.train_set.images.shape[1:])
        restore_trace(trace, document.get("trace"), state)
        self._sizes = read_as(dict[str, float], document.get("sizes"), "the doctor's state: sizes")
        total, count = read_as(tuple[float, int], document.get("epoch_sum"), "the doctor's state: epoch_sum")
        self._epoch_sum = [total, count]
        self._pass_ended = read_as(bool, document.get("pass_ended"), "the doctor's state: pass_ended")
        for one in read_as(list[Any], document.get("found"), "the doctor's state: found"):
            finding = Finding.from_json(one)
            self._found[finding.key] = finding
        self._first_fired = {
            name.partition(".")[2]: array for name, array in state.items() if name.startswith("first_fired.")
        }
        self._kept.recall()
        if self._began:
            self._examine(When.START)

    # Inside

    @property
    def _origin(self) -> int:
        """The step number of the training step when the doctor began to watch."""
        return self.step.step_number - self.trace.steps

    def _due(self, number: int) -> bool:
        """Whether the watch is read at the step with this number, counted from 1."""
        setup = self.trace.setup
        samples = len(setup.train_set) if setup.train_set is not None else 0
        stride = max(16, samples // setup.batch_size // 4)
        return number <= FIRST or number & (number - 1) == 0 or number % stride == 0

    def _begin_with(self, x: Array, y: Array) -> None:
        """Examine the first batch in place of a data set.

        After ``load_state_dict`` it is the first batch of the resumed training, whose starting weights are known.
        """
        self._began = True
        trace = self.trace
        if x.ndim < 2 or len(x) == 0 or x.dtype.kind not in "buif":
            return
        if trace.steps:
            trace.structure = Structure.of(trace.setup.model, x.shape[1:])
        else:
            self._sizes = look_at_model(trace, trace.setup.model, x.shape[1:])
        labelled = trace.setup.classifies and y.ndim == 1 and y.dtype.kind in "iu"
        labels = y.astype(np.int64) if labelled else np.zeros(len(x), np.int64)
        try:
            batch = Dataset(x, labels, name="first batch", channels_first=True)
            trace.data = Sample.of(batch, standardizer_of(trace.setup.model))
        except StriateError:
            return  # the step reports the error
        if labelled and trace.baseline is None:
            trace.baseline = constant_loss(trace.data.class_shares, trace.setup.loss, len(x))
        self._examine(When.START)

    def _examine(self, when: When) -> list[Finding]:
        """Apply the rules that have seen enough at this moment; returns the new findings, ranked."""
        order = list(When)
        new: set[tuple[str, str]] = set()
        for known in RULES.values():
            if order.index(known.when) > order.index(when) or (known.when is When.ONCE and when is not When.START):
                continue
            for finding in applied(known.kind, self.trace):
                if finding.key not in self._found:
                    new.add(finding.key)
                first = self._found.get(finding.key)
                step = first.step if first is not None else self.trace.steps
                self._found[finding.key] = replace(finding, step=step)
        return [finding for finding in self.findings if finding.key in new]
