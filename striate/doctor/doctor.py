"""``Doctor`` watches a training, applies the rules, and reports what is wrong.

The trainer has a doctor by default. In a loop of your own::

    doctor = Doctor(step)
    for x, y in …:
        loss = doctor(x, y)              # runs the step and observes it
    doctor.end_of_epoch(mean_loss)
    print(doctor.finish())
"""

from __future__ import annotations

import math
import warnings
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from striate import options
from striate.data.dataset import Dataset, require_dataset
from striate.data.loader import batch_count, batches
from striate.data.standardizer import standardizer_of
from striate.doctor import rules
from striate.doctor.finding import Finding, Findings
from striate.doctor.probe import answers_of, constant_loss, losses_in, probe_of, targets_of, tried_constant_loss
from striate.doctor.ranking import ranked
from striate.doctor.reading import Statistics, gaps_of, reading_of
from striate.doctor.rule import RULES, When
from striate.doctor.sample import Sample
from striate.doctor.setup import Setup
from striate.doctor.state import ReadingTexts, as_bytes, document_of, restore_trace, trace_arrays, trace_document
from striate.doctor.structure import Structure, as_drawn, copied_units
from striate.doctor.training_trace import Forms, Probe, Silence, TrainingTrace
from striate.errors import StriateError
from striate.nn.module import Module
from striate.persistence.plain import read_as, to_plain
from striate.step import TrainingStep
from striate.watch import Watch

Array = npt.NDArray[Any]
PROBED = 256
FIRST = 10
SUSPECT = 1.15
"""Both modes are compared where the evaluation loss exceeds this multiple of the training loss."""
DOUBTFUL = 0.05
"""Both modes are also compared while starting values are more than this share of running statistics."""
_TARGETS = 50
_KEPT = 8  # recent batches that are kept, to show them to the model again

assert rules  # importing the rules registers them


class Doctor:
    """Watches one training step and collects findings, ranked by what to change first.

    step          the ``TrainingStep`` to watch
    train_set     training data, examined once before the first step; None: the first batch is examined instead
    validation    validation data, examined at the same time as ``train_set``
    watch         a watch of the step, which the doctor reads; None: the doctor opens one on all layers
    batch_size, epochs, seed, shuffle    how the training is run; remedies refer to them
    command_line  options of ``striate train`` that remedies may name, such as "--lr"
    recompute_statistics  whether running statistics are computed anew at the end, so that lagging ones do no harm

    At most 1,000 samples of each data set are examined, but all of them for exact duplicates. The watch is read in the
    first ten steps, then at powers of two and about four times an epoch (every 16 steps without a ``train_set``). The
    doctor does not change the training, and uses no random numbers of the training.

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
        self._batches: deque[tuple[Array, Array]] = deque(maxlen=_KEPT)
        self._epoch_sum = [0.0, 0]
        self._targets: list[Array] = []
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
        """Prepare for a step; call it with the batch before the step runs.

        If nothing has been examined yet, the batch is examined. If the watch will be read after this step, the running
        statistics are copied.
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
        """Record a step; call it with the batch and its loss after the step has run.

        The watch is read if it is due. After steps 3 and 10 the rules are applied and the new findings are returned;
        after any other step the list is empty.
        """
        trace = self.trace
        trace.losses.append(loss)
        self._epoch_sum[0] += loss
        self._epoch_sum[1] += 1
        self._note_labels(np.asarray(y))
        if trace.steps == 1:
            self._note_first_move()
            self._first_fired = {path: np.asarray(share) > 0 for path, share in self.watch.firing().items()}
        self._batches.append((np.asarray(x), np.asarray(y)))
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
        self._count_silent()
        self._note_sizes()
        with np.errstate(all="ignore"):
            self._note_targets()
            probe = self._probe()
            if probe is not None:
                trace.probes.append(probe)
        return self._examine(When.EPOCH)

    def broke_down(self, error: StriateError) -> list[Finding]:
        """Record that the step raised ``error``, a ``NonFiniteError``, and apply the rules; return the new findings."""
        self.trace.broke_down = str(error).splitlines()[0]
        self.trace.finished = True
        with np.errstate(all="ignore"):
            self._note_targets()
        return self._examine(When.EPOCH)

    def finish(self) -> Findings:
        """Record the end of the training, apply the rules a last time, and return all findings."""
        self.trace.finished = True
        with np.errstate(all="ignore"):
            self._compare_forms()
        self._examine(When.EPOCH)
        return self.findings

    def close(self) -> None:
        """Close the watch that the doctor reads; the step then runs without computing its statistics."""
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
        weights. The findings of the state are restored; the remedy of a finding can be applied once the rule has found
        it again. Raises ``ModelFileError`` for a malformed state.
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
        self._recall_batches()
        if self._began:
            self._examine(When.START)

    def _recall_batches(self) -> None:
        """Restore the last batches and the targets of the first batches from the data set."""
        setup, steps = self.trace.setup, self.trace.steps
        if setup.train_set is None or not steps:
            return
        train_set = setup.train_set
        count = batch_count(len(train_set), setup.batch_size)

        def batches_of(first: int, stop: int) -> Iterator[tuple[Array, Array]]:
            for epoch in range(first // count, -(-stop // count)):
                start = max(first - epoch * count, 0)
                found = batches(
                    train_set, setup.batch_size, seed=setup.seed, epoch=epoch, shuffle=setup.shuffle, first=start
                )
                for x, y, _ in islice(found, min(stop - epoch * count, count) - start):
                    yield x, y

        self._batches.extend(batches_of(max(0, steps - _KEPT), steps))
        if not setup.classifies:
            self._targets = [
                y.reshape(len(y), -1).astype(np.float64) for _, y in batches_of(0, min(steps, _TARGETS)) if y.ndim
            ]

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

    def _note_labels(self, y: Array) -> None:
        """Record the labels of a batch: how often each class occurred, and how mixed the batch was."""
        trace = self.trace
        if trace.setup.classifies and y.ndim == 1 and y.dtype.kind in "iu":
            y = y[y >= 0]  # the loss ignores negative labels
            if not len(y):
                return
            counts = np.bincount(y, minlength=len(trace.labels_seen))
            trace.labels_seen = counts + np.pad(trace.labels_seen, (0, len(counts) - len(trace.labels_seen)))
            if len(trace.mixtures) < 200:
                trace.mixtures.append((float(1 - np.square(counts / len(y)).sum()), len(y)))
        elif not trace.setup.classifies and y.ndim and len(y) and len(self._targets) < _TARGETS:
            self._targets.append(y.reshape(len(y), -1).astype(np.float64))

    def _note_targets(self) -> None:
        """Record statistics of targets and predictions in a user's own loop.

        These are the moments of the targets, the loss of the best constant prediction, and, for targets of 0 and 1,
        statistics of the predictions. The doctor sees the targets of such a loop only batch by batch.
        """
        trace = self.trace
        trace.targets = targets_of(self._targets)
        if trace.targets is None or not self._batches:
            return
        loss, y = trace.setup.loss, np.concatenate(self._targets)
        if trace.baseline is None:
            known = loss.constant_loss(y, np.ones(len(y)))
            outputs = self._batches[-1][1].shape[1:]
            trace.baseline = tried_constant_loss(y, loss, outputs) if math.isnan(known) else known
        structure = trace.structure
        if structure is not None and structure.outputs == 1 and math.isfinite(trace.targets.rarer):
            last = structure.last
            bounded = last is not None and last.activation is not None and last.activation.output_bounds[1] <= 1
            try:
                shown = np.concatenate([np.asarray(trace.setup.model(x)) for x, _ in self._batches])
            except StriateError:
                return
            trace.answers = answers_of(shown, np.concatenate([y for _, y in self._batches]), bounded)

    def _compare_forms(self) -> None:
        """Compare the loss in training and in evaluation mode, where running statistics may not fit."""
        trace, setup = self.trace, self.trace.setup
        if trace.structure is None or not self._batches or not trace.losses:
            return
        tracked = [one.normalization.running_statistics() for one in trace.structure.norms if one.normalization]
        momenta = [one.momentum for one in tracked if one is not None and one.momentum is not None]
        batches = self._batches_again()
        evaluation = losses_in(setup.model, setup.loss, batches, training=False) if any(tracked) else math.nan
        seen = trace.recent_loss / (setup.batch_size if setup.loss.reduction == "sum" else 1)
        doubtful = any((1 - m) ** trace.steps > DOUBTFUL or m > 1 / 2 for m in momenta)
        if not (evaluation > SUSPECT * seen or (doubtful and math.isfinite(evaluation))):
            return
        training = losses_in(setup.model, setup.loss, batches, training=True)
        gaps = gaps_of(trace.structure, self.watch.means(), self.watch.stds())
        trace.forms.append(Forms(trace.epochs, training, evaluation, gaps))

    def _batches_again(self) -> list[tuple[Array, Array]]:
        """Return training data to show to the model again, as a list of one batch.

        With a data set it is a random batch of at least 256 samples, so that its statistics scatter little; in a user's
        loop, the first of the samples kept from recent batches.
        """
        trace, size = self.trace, max(PROBED, self.trace.setup.batch_size)
        train_set = trace.setup.train_set
        if train_set is None or trace.data is None:
            x, y = ([one[part] for one in self._batches] for part in (0, 1))
            return [(np.concatenate(x)[:size], np.concatenate(y)[:size])]
        index = np.random.default_rng(0).permutation(trace.data.index)[:size]
        return [(train_set.images[index], train_set.labels[index])]

    def _note_sizes(self) -> None:
        """Record the norm ‖w‖ of every weight at the start and now."""
        trace = self.trace
        for one in trace.structure.maps if trace.structure else ():
            weight = one.parameters.get("weight")
            if weight is not None and one.path in self._sizes:
                now = float(np.linalg.norm(weight.data.astype(np.float64)))
                trace.sizes[one.path] = self._sizes[one.path], now

    def _note_first_move(self) -> None:
        """Record ‖Δθ‖/‖θ‖ of the first update for each weight, with θ before the update.

        The watch divides by θ after the update, which a large update dominates.
        """
        moved = self.step.update_views()
        for path, size in self._sizes.items():
            change = moved.get(f"{path}.weight")
            if change is not None and size > 0:
                self.trace.first_moves[path] = float(np.linalg.norm(change.astype(np.float64))) / size

    def _count_silent(self) -> None:
        """Record each layer's units that never fired in the past epoch, and how many of these fired at first."""
        silent = self.watch.silent_units()
        for path, fired in self.watch.firing().items():
            indices = tuple(silent.get(path, ()))
            first = self._first_fired.get(path)
            alive = int(first[list(indices)].sum()) if first is not None and indices else 0
            self.trace.silence[path] = Silence(len(fired), indices, alive)
        self._pass_ended = True  # the next step starts a new pass; until then the user may read the watch

    def _probe(self) -> Probe | None:
        """Return statistics of the predictions for a fixed part of the training data.

        None for a training that does not classify.
        """
        trace = self.trace
        if not trace.setup.classifies:
            return None
        if trace.setup.train_set is not None and trace.data is not None:
            chosen = trace.data.index[:: max(1, len(trace.data.index) // PROBED)][:PROBED]
            x, y = trace.setup.train_set.images[chosen], trace.setup.train_set.labels[chosen]
        elif self._batches:
            x, y = (part[:PROBED] for part in self._batches[-1])
        else:
            return None
        return probe_of(np.asarray(trace.setup.model(x)), y, trace.epochs)

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


def applied(kind: str, trace: TrainingTrace) -> list[Finding]:
    """Apply the rule ``kind`` to a trace and return its findings.

    An error inside the rule becomes a warning, and the result is then empty.
    """
    try:
        with np.errstate(all="ignore"):
            return list(RULES[kind].examine(trace))
    except Exception as error:  # noqa: BLE001 - an error in a rule must not end the training
        warnings.warn(f"the doctor's rule {kind} failed: {type(error).__name__}: {error}", stacklevel=2)
        return []


def look_at_model(trace: TrainingTrace, model: Module, shape: tuple[int, ...]) -> dict[str, float]:
    """Record the structure and starting weights of a model in the trace.

    Returns the norm ‖w‖ of the weight of each linear layer and convolution, by path; empty if the model cannot be
    traced. Initial values are drawn for parameters that have none yet. ``shape`` is that of one sample.
    """
    trace.structure = structure = Structure.of(model, shape)
    sizes: dict[str, float] = {}
    if structure is None:
        return sizes
    parameters = dict(model.named_state())
    trace.random_and_frozen = tuple(
        name.rpartition(".")[0]
        for name in structure.frozen
        if name.endswith("weight") and as_drawn(model, name, parameters[name])
    )
    model.materialize()
    for one in structure.maps:
        bias, weight = (one.parameters.get(name) for name in ("bias", "weight"))
        if weight is not None:
            fan_in = weight.data[0].size
            trace.gains[one.path] = float(np.sqrt(np.square(weight.data, dtype=np.float64).mean() * fan_in))
            sizes[one.path] = float(np.linalg.norm(weight.data.astype(np.float64)))
        if bias is not None:
            trace.starts[one.path] = float(bias.data.mean())
    trace.copies = copied_units(structure)
    for one in structure.norms:
        scale = one.parameters.get("weight")
        trace.scales[one.path] = float(np.sqrt(np.square(scale.data).mean())) if scale is not None else 1.0
    return sizes
