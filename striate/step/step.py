"""The training step: forward pass, backward pass and update of one model, as two compiled programs.

    gradients   x, y → the loss; gradients into their own memory, new running statistics into pending arrays
    update      parameters, gradients, optimizer state, pending statistics → their new contents if
                everything is finite; otherwise all keep their old contents

So numbers that are not finite never reach the model. Between the two programs, gradients can be inspected, averaged or
accumulated. A step that was not finite can be replayed to find the layer where NaN or infinity first appeared.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from striate import habits
from striate.arguments import Explained
from striate.distributed import Reduce
from striate.dtypes import Precision
from striate.errors import OptionError
from striate.graph.value import Array, DType
from striate.nn.loss import Loss, LossFunction, as_loss
from striate.nn.module import Module
from striate.optim.groups import Assignment
from striate.optim.optimizer import Optimizer
from striate.runtime.state import StateArena
from striate.step.batch import batch_of
from striate.step.batch_gradients import BatchGradients
from striate.step.diagnosis import RefusedStep, of_any_rank
from striate.step.options import checked_options
from striate.step.prepared import PreparedStep
from striate.step.requirement import require_parts, require_precision
from striate.step.sharing import SharedTotals, Sharing
from striate.step.state import require_possible, state_places
from striate.step.writing import write_all
from striate.watch import Watch

if TYPE_CHECKING:
    from striate.profile import Profile


class TrainingStep(metaclass=Explained):
    """Compiles the training step of a model: each call ``loss = step(x, y)`` updates the model once.

    x is (N, …); uint8 is used as it is, other numbers are converted to the model's dtype. y is (N,) integers for
    ``CrossEntropyLoss`` ((N, …) if there is a prediction for each position), or (N, …) numbers for ``MSELoss``. Several
    inputs are a tuple, or a dict by the argument names of the model's ``forward``. The loss may also be a function of
    (prediction, target) that returns one number, such as ``lambda x, y: st.ops.mean(abs(x - y))``; such a function may
    take several outputs and a tuple or dict of targets.

        seed        seeds dropout, and the initial values of parameters that have none yet
        capacity    the largest N for which memory is planned at the start; None: the N of the first batch. For a
                    larger batch, memory is planned again
        clip_value  limits each element of the gradients to −clip_value … clip_value; None: no limit
        max_norm    scales all gradients, after ``clip_value``, so that their norm is at most max_norm; None: no limit
        accumulate  the number k of parts in which each batch is computed, one after the other, before one update with
                    the gradients of the whole batch. Activations then need 1/k of the memory. Batch normalization uses
                    the statistics of each part
        ema         the decay d of an exponential moving average of parameters and running statistics,
                    θ̄ ← d θ̄ + (1 − d) θ after each step, see ``averaged``; None: no average
        precision   "bfloat16" stores activations in half the memory and rounds the factors of products to bfloat16;
                    sums, statistics, parameters, gradients of parameters, and updates stay float32
        communicator      a communicator of mpi4py whose ranks (processes) share each batch: every rank passes its own
                          samples, and all ranks make the same update. All ranks must call each method that
                          computes. None: this process is alone
        reduce            "fast" or "exact". With "exact", 1, 2, 4 or 8 ranks compute the same bits for the same batch.
                          These differ from the bits of a step with "fast", see docs/machines.md
        sync_batch_norm   whether batch normalization computes its statistics over the samples of all ranks. If False,
                          each rank uses its own samples (for "exact", see docs/machines.md)

    Example::

        step = st.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.05, momentum=0.9))
        loss = step(x, y)

    The attribute ``gradient_norm`` is the Euclidean norm of all gradients of the last update before clipping, and NaN
    before the first update.

    Raises ``OptionError`` for invalid options, and ``EngineError`` for bfloat16 on a processor without the
    instructions. A call raises ``ShapeError``, ``LabelError`` or ``DataError`` for unsuitable data, and
    ``NonFiniteError`` if the loss or a gradient is not finite. After an error, parameters, statistics and optimizer are
    as before the call.
    """

    def __init__(
        self,
        model: Module,
        loss: Loss | LossFunction,
        optimizer: Optimizer,
        *,
        seed: int = 0,
        capacity: int | None = None,
        max_norm: float | None = None,
        clip_value: float | None = None,
        accumulate: int = 1,
        ema: float | None = None,
        precision: str | Precision = Precision.full,
        communicator: object = None,
        reduce: str | Reduce = Reduce.FAST,
        sync_batch_norm: bool = True,
    ) -> None:
        require_parts(model, optimizer)
        loss = as_loss(loss)
        self._options = checked_options(
            seed=seed, capacity=capacity, max_norm=max_norm, clip_value=clip_value, accumulate=accumulate, ema=ema,
            precision=precision, communicator=communicator, reduce=reduce, sync_batch_norm=sync_batch_norm,
        )  # fmt: skip
        self._prepared = PreparedStep(model, loss, optimizer, self._options)
        self._gradients = BatchGradients(self._prepared)
        self._uses_average = np.zeros((), np.float64)  # 1 while the model holds the averages
        self.gradient_norm = math.nan
        model.seed(seed)
        loss.to(model.dtype or DType.float32)
        require_precision(self.precision, model.dtype)

    # Arguments of the constructor; the programs depend on them, so they cannot be replaced

    @property
    def model(self) -> Module:
        """The model that is trained."""
        return self._prepared.model

    @property
    def loss(self) -> Loss:
        """The loss function that is minimized."""
        return self._prepared.loss

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer that updates the parameters."""
        return self._prepared.optimizer

    @property
    def seed(self) -> int:
        """The seed of dropout, and of the initial values of parameters that had none when the step was created."""
        return self._options.seed

    @property
    def ema(self) -> float | None:
        """The decay d of the exponential moving average, or None if no average is kept."""
        return self._options.ema

    @property
    def options(self) -> dict[str, object]:
        """The constructor's options ``max_norm``, ``clip_value``, ``accumulate``, ``ema``, ``precision``, by name.

        The options for several ranks (processes) are in ``sharing``.
        """
        return self._options.by_name

    @property
    def rules(self) -> Assignment:
        """The optimizer's rules, one for each parameter group, and which of them updates each parameter."""
        return self._prepared.rules

    @property
    def sharing(self) -> Sharing | None:
        """How several ranks (processes) share each batch; None for a process alone without ``reduce="exact"``."""
        return self._options.sharing

    @property
    def shared_totals(self) -> SharedTotals | None:
        """The number of samples, and the totals of the loss, of the last batch that several ranks (processes) shared.

        It is None before the first such batch.
        """
        return self._gradients.shared_totals

    @property
    def precision(self) -> Precision:
        """The precision in which activations are stored, and to which the factors of convolutions are rounded."""
        return self._options.precision

    # The step

    def __call__(self, x: Any, y: Any, weight: Any = None) -> float:
        """Run forward pass, backward pass and update on the batch (x, y); return the loss before the update.

        With a communicator, (x, y) are this rank's samples, and the loss is that of the whole batch.
        ``weight`` (N,) are sample weights of at least 0: a sample with weight 2 counts as if it were in the batch
        twice, and one with weight 0 as if it were absent (except in the statistics of batch normalization). Raises
        ``ShapeError`` or ``DataError`` for other weights, and ``OptionError`` for a loss function that does not provide
        a loss per sample.
        """
        loss = self._compute_gradients(x, y, weight)
        self._update()
        return loss

    def gradients(self, x: Any, y: Any, weight: Any = None) -> dict[str, Array]:
        """Compute the gradients for the batch (x, y) without an update; return copies by dotted parameter name.

        Afterwards, ``loss_value`` is the loss of this batch. ``weight`` (N,) are sample weights, as in a call of the
        step. Gradients are not clipped.
        """
        self._compute_gradients(x, y, weight)
        return {name: np.array(view) for name, view in self._prepared.memory().gradients.views.items()}

    def update(self, gradients: Mapping[str, Array] | None = None) -> None:
        """Make one update of the model, with the latest gradients or with the given ones.

        ``gradients`` are arrays by dotted parameter name, for example accumulated or averaged ones. The update also
        writes the new running statistics from the last call of the method ``gradients``, unless they were written
        already or the model has changed since that call.

        Raises ``OptionError`` if ``gradients`` is None and no gradients have been computed, or if the names in
        ``gradients`` are not those of all trained parameters. Raises ``ShapeError`` and ``DTypeError`` for arrays that
        do not fit the parameters, and ``NonFiniteError`` for gradients that are not finite. After an error, the model
        is unchanged.
        """
        self.use_average(False)
        memory = self._prepared.memory()
        if gradients is not None:
            write_all(memory.gradients.views, gradients, "gradients")
        elif self._gradients.last is None or self._gradients.last.arena is not memory.arena:
            raise OptionError(
                "update() without gradients\n  help: call step.gradients(x, y) first, or step.update(gradients)"
            )
        self._update()

    @property
    def step_number(self) -> int:
        """The number of updates made so far; a refused step does not count."""
        return int(self._prepared.clock)

    @property
    def loss_value(self) -> float:
        """The loss of the last batch, before its update, as a float."""
        return float(self._prepared.memory().loss)

    def watch(self, pattern: str = "*") -> Watch:
        """Record statistics of the layers and parameters whose dotted names match ``pattern``, from now on.

        The next step is recompiled so that it also computes these statistics; the results of the training do not change
        by a single bit. ``*`` and ``?`` are wildcards, as in ``fnmatch``. Returns the watch, from which the statistics
        are read. Raises ``OptionError`` if ``pattern`` is not a string.
        """
        if not isinstance(pattern, str):
            raise OptionError(f"watch({pattern!r}): expected a pattern of names\n  help: '*', or 'conv1*'")
        watch = Watch(pattern, self)
        self._prepared.add_watch(watch)
        return watch

    def unwatch(self, watch: Watch) -> None:
        """End a watch that ``watch`` returned; ending it again has no effect."""
        self._prepared.remove_watch(watch)

    def gradient_views(self) -> Mapping[str, Array]:
        """Return the gradients that were computed last, by parameter name, as views (no copies)."""
        return self._prepared.memory().gradients.views

    def update_views(self) -> Mapping[str, Array]:
        """Return what the last update added to each parameter, as views (no copies), by parameter name.

        The result is empty unless ``watch`` observes the training.
        """
        moved = self._prepared.memory().moved
        return {} if moved is None else moved.views

    def parameter_views(self) -> Mapping[str, Array]:
        """Return the trainable parameters by name, as views of the model's memory (no copies)."""
        return self._prepared.memory().arena.parameters

    def profile(self, x: Any, y: Any, repetitions: int = 10) -> Profile:
        """Measure where a step on the batch (x, y) spends its time, by layer and pass; ``print`` shows a table.

        This runs real steps, of which ``repetitions`` are measured. Afterwards, model and optimizer are restored.
        Raises ``EngineError`` if nothing is compiled (``STRIATE_ENGINE=reference``).
        """
        profiler = import_module("striate.profile")  # imported late, because it imports the compiler
        profiler.require_compiled()
        self._compute_gradients(x, y)  # assigns the model's memory without committing anything
        model, state = self.model.state_dict(), self.state_dict()
        try:
            self(x, y)
            last, update = self._gradients.last, self._prepared.update_program
            gradients, samples = (last.program.executable, len(last.arrays["x"])) if last else (None, 0)
            return profiler.profile_training(lambda: self(x, y), gradients, update, self.model, samples, repetitions)
        finally:
            self.model.load_state_dict(model)
            self.load_state_dict(state)

    # The moving average

    def use_average(self, use: bool) -> None:
        """Put the moving averages into the model if ``use`` is true, else the trained parameters and statistics.

        If the averages are in the model, the next step first puts the trained parameters back. Raises ``OptionError``
        if ``use`` is true and the step keeps no average (``ema=None``).
        """
        if bool(self._uses_average) is use:
            return
        if self.ema is None:
            raise OptionError("no moving average is kept\n  help: st.TrainingStep(…, ema=0.999)")
        memory = self._prepared.memory()
        assert memory.average is not None
        memory.average.swap(memory.arena, self._uses_average, use)

    @contextmanager
    def averaged(self) -> Generator[Module]:
        """Put the moving averages into the model during a ``with`` block, to evaluate or save it.

        ``with step.averaged() as model:`` provides the model itself. Raises ``OptionError`` if the step keeps no
        average (``ema=None``).
        """
        before = bool(self._uses_average)
        self.use_average(True)
        try:
            yield self.model
        finally:
            self.use_average(before)

    # What a checkpoint holds besides the model

    def state_dict(self) -> dict[str, Array]:
        """Return copies of the step number and the optimizer's state, by name.

        The names are ``step``, ``momentum_buffer.conv1.weight`` … and, for optimizers with running products, names such
        as ``mu_product``. With ``ema``, there are also ``average.conv1.weight`` … and ``uses_average``.
        ``uses_average`` is 1 while the averages are in the model; the arrays ``average.…`` then contain the trained
        parameters. As long as the model's parameters have no values, because the shape of its input is unknown, there
        is only ``step``.
        """
        state: dict[str, Array] = {"step": np.array(self._prepared.clock)}
        if self._prepared.has_memory or self.model.initialized():
            state |= {name: np.array(view) for name, view in self._places().items()}
        return state

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Restore the state that ``state_dict`` returned; nothing is written unless all of it is valid.

        Raises ``OptionError`` for missing or unknown names, ``ShapeError`` and ``DTypeError`` for arrays that do not
        fit the model, and ``DataError`` for contents that cannot result from a training: a step that is not a whole
        number of at least 0, vectors with NaN or infinity, negative averages of squares, and products outside [0, 1].
        """
        write_all(
            self._places(), state, "optimizer state", lambda name, array: require_possible(self.rules, name, array)
        )

    def _places(self) -> dict[str, Array]:
        places = state_places(self._prepared.memory(), self._prepared.clock)
        return places | ({} if self.ema is None else {"uses_average": self._uses_average})

    def __getstate__(self) -> dict[str, Any]:
        """Return the contents of a pickle: model, loss, optimizer, the seed and capacity, ``options`` and the state.

        Programs, memory, watches and ``communicator`` are not included: a loaded step belongs to one process.
        ``reduce`` and ``sync_batch_norm`` are kept, so that it computes the same bits.
        """
        options = {"seed": self.seed, "capacity": self._options.capacity, **self.options}
        if self.sharing is not None:
            options |= {"reduce": self.sharing.reduce, "sync_batch_norm": self.sharing.synchronized}
        parts = {"model": self.model, "loss": self.loss, "optimizer": self.optimizer}
        return {"parts": parts, "options": options, "state": self.state_dict()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state["parts"], **state["options"])
        if len(state["state"]) > 1:
            self.load_state_dict(state["state"])
        self._prepared.clock[...] = state["state"]["step"]

    def __getattr__(self, name: str) -> object:
        raise habits.missing("TrainingStep", name, dir(type(self)), habits.STEP)

    def __repr__(self) -> str:
        """Return what is trained, how, and the number of steps so far."""
        parts = f"{type(self.model).__name__}, {type(self.loss).__name__}, {self.optimizer.brief()}"
        return f"TrainingStep({parts}): {self.step_number:,} step{'s' * (self.step_number != 1)}"

    # Internal

    def _compute_gradients(self, x: Any, y: Any, weight: Any = None) -> float:
        self.use_average(False)
        batch = batch_of(self.model, self.loss, x, y, weight, part=self.sharing is not None)
        return self._gradients.compute(batch)

    def _update(self) -> None:
        memory = self._prepared.memory()
        arena, clock, program = memory.arena, self._prepared.clock, self._prepared.update_program
        last = self._gradients.last
        batch = last if last is not None and last.belongs_to(arena) else None
        if batch is None:
            memory.pending.flat[...] = arena.flat_buffers  # there are no new statistics, so they stay as they are
        assert program is not None
        before = float(clock)
        counters: dict[str, Array] = {}
        if batch is not None:
            counters = {name: arena.counters[name] + batch.batches for name in batch.program.counters}
        try:
            found = program.run({}, 1)
        finally:
            # Ctrl-C is raised when the program has ended. What belongs to a committed update is then done first.
            if clock > before:
                try:
                    self._count(arena, counters)
                except BaseException:
                    self._count(arena, counters)
                    raise
        self.gradient_norm = float(found["norm"])
        if not found["ok"]:
            refused = RefusedStep(self.step_number + 1, memory, self.optimizer, self.rules.bounded, self.gradient_norm)
            if batch is None:
                raise refused.error_of_gradients()
            error = refused.error(batch.program, batch.arrays, batch.parts)
            raise error if self.sharing is None else of_any_rank(error, self.sharing.ranks)

    @staticmethod
    def _count(arena: StateArena, counters: Mapping[str, Array]) -> None:
        """Write the new numbers of batches of a committed update; doing so twice changes nothing more."""
        for name, contents in counters.items():
            arena.counters[name][...] = contents
        arena.changed()
