"""Finds out why a step was refused: invalid data or gradients, or the first NaN or infinite tensor."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from striate.distributed import Communicator
from striate.engine import ReferenceExecutable
from striate.errors import DataError, NonFiniteError, StriateError
from striate.graph.graph import Graph, Input, OutputKind, topological
from striate.graph.value import Array
from striate.optim.optimizer import Optimizer
from striate.step.gradients import GradientProgram
from striate.step.memory import StepMemory
from striate.step.training_graph import LOSS

_UNKNOWN = "the numbers are too large"
"""How the message begins, after the number of the step, if every tensor that this rank computed is finite."""


def of_any_rank(error: StriateError, ranks: Communicator) -> StriateError:
    """Return the error to raise on this rank (process) for a step that all ranks refused.

    ``error`` is this rank's own error. If the first tensor that is not finite was found on another rank, the result has
    the message of that rank. All ranks must call this function.
    """
    texts = ranks.gather_texts(str(error) if isinstance(error, NonFiniteError) else "")
    located = {rank: text for rank, text in enumerate(texts) if text and f": {_UNKNOWN}" not in text}
    if not located or ranks.rank in located or not isinstance(error, NonFiniteError):
        return error
    rank = min(located)
    return NonFiniteError(located[rank].replace("; nothing", f" on rank {rank}; nothing", 1))


@dataclass(frozen=True)
class RefusedStep:
    """A training step that was refused because a result was NaN or infinite; the model is unchanged.

    The result is the loss, a gradient, a new statistic or the update. ``number`` is the number of the step, ``memory``
    has the results of the step, and ``gradient_norm`` is the norm of all gradients before clipping. ``bounded`` says
    whether, with the optimizer's options, the update itself cannot overflow.
    """

    number: int
    memory: StepMemory
    optimizer: Optimizer
    bounded: bool
    gradient_norm: float

    def error_of_gradients(self) -> StriateError:
        """Return the error for gradients that the caller passed to ``update``."""
        return NonFiniteError(f"step {self.number}: the given gradients are not finite; nothing was changed")

    def error(
        self, program: GradientProgram, arrays: Mapping[str, Array], parts: Sequence[Mapping[str, Array]]
    ) -> StriateError:
        """Return the error that names the invalid data, or the first NaN or infinite tensor and its layer.

        ``program`` computed the gradients. ``arrays`` are the inputs and targets of the batch by name, and ``parts``
        are the parts in which the batch was computed. This method computes the parts again in NumPy.
        """
        for name in arrays:
            if arrays[name].dtype.kind == "f" and not np.isfinite(arrays[name]).all():
                place = tuple(int(i) for i in np.argwhere(~np.isfinite(arrays[name]))[0])
                return DataError(
                    f"step {self.number}: {name}{list(place)} is {arrays[name][place]}; nothing was changed\n"
                    f"  help: sample {place[0]} of this batch holds NaN or infinity; repair or drop it"
                )
        found = (_first_not_finite(program, part, len(part["x"])) for part in parts)
        where = next((text for text in found if text), "") or self._too_large()
        return NonFiniteError(
            f"step {self.number}: {where}; nothing was changed\n"
            "  help: use a smaller learning rate, standardized data, batch normalization, or clip the gradients with "
            "max_norm="
        )

    def _too_large(self) -> str:
        """Describe what overflowed if every tensor of the forward and backward pass is finite."""
        memory = self.memory
        vectors = {"gradient": memory.gradients.views, "new value": memory.pending.views}
        largest = {
            (kind, name): float(np.abs(view).max(initial=0)) for kind in vectors for name, view in vectors[kind].items()
        }
        kind, name = max(largest, key=lambda one: largest[one])
        dtype = memory.arena.dtype.value
        if not self.bounded and math.isfinite(self.gradient_norm) and math.isfinite(float(memory.pending.flat.sum())):
            return f'the update of "{name}" and others would exceed {dtype} with lr={self.optimizer.lr:g}'
        reached = f'the {kind} of "{name}" reaches {largest[kind, name]:.3g}'
        return f"{_UNKNOWN}: {reached}, whose square or sum exceeds {dtype}"


def _first_not_finite(program: GradientProgram, arrays: Mapping[str, Array], n: int) -> str:
    """Replay the step in NumPy and describe the first tensor that is not finite; "" if all are finite."""
    graph, bindings = program.graph, program.bindings
    for name, value in graph.inputs.items():
        if isinstance(value.node.op, Input) and name in bindings and not np.isfinite(bindings[name]).all():
            return f"{name!r} holds NaN or infinity before the step"
    forward = {node.serial for node in topological([graph.outputs[LOSS]])}
    training = [value for name, value in graph.outputs.items() if graph.role(name).kind is not OutputKind.WATCH]
    values = {
        f"{node.serial}.{index}": (node, value)
        for node in sorted(topological(training), key=lambda node: node.serial)
        for index, value in enumerate(node.outputs)
        if value.dtype.is_float and node.inputs
    }
    replay = Graph(graph.inputs, {name: value for name, (_, value) in values.items()}, {}, graph.captured)
    found = ReferenceExecutable(replay, bindings, {}).run(arrays, n)
    for name, (node, value) in values.items():
        if not np.isfinite(found[name]).all():
            kind = "NaN" if np.isnan(found[name]).any() else "infinity"
            part = "forward" if node.serial in forward else "backward"
            layer = f'at "{node.path}"' if node.path else "at the loss"
            return f"the first {kind} is the output of {node.op} {layer} ({part} pass), {value.type}"
    return ""
