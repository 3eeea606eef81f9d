"""The network as the rules see it: its layers in the order in which they run, and which parameters reach the output."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from striate.errors import StriateError
from striate.graph.graph import topological
from striate.graph.op import Op
from striate.graph.value import Array, DType, N, TensorType, Value
from striate.nn.activation import LeakyReLU, ReLU, Sigmoid, Tanh
from striate.nn.convolution import Convolution
from striate.nn.initialization import drawn, generator
from striate.nn.linear import Linear
from striate.nn.module import Module
from striate.nn.normalization import BatchNorm
from striate.nn.parameter import Parameter
from striate.nn.pooling import AvgPool1d, AvgPool2d, AvgPool3d, MaxPool1d, MaxPool2d, MaxPool3d
from striate.nn.random import Dropout
from striate.nn.shaping import Flatten, Identity
from striate.nn.standardization import Standardization
from striate.ops import activation as operations
from striate.tracing import Trace, output_values

Maps = Linear | Convolution
Activations = Sigmoid | Tanh | ReLU | LeakyReLU
_QUIET = (  # layers that change nothing about which unit a number belongs to, or only its place
    Identity, Flatten, Dropout, MaxPool1d, MaxPool2d, MaxPool3d, AvgPool1d, AvgPool2d, AvgPool3d,
)  # fmt: skip


_CALLED: dict[type[Op], type[Module]] = {
    operations.Relu: ReLU, operations.LeakyRelu: LeakyReLU, operations.Tanh: Tanh, operations.Sigmoid: Sigmoid,
}  # fmt: skip


@dataclass(frozen=True)
class Passed:
    """One leaf layer where a trace passed it; or an activation that a ``forward`` calls itself, as its layer would be,
    under the name that the watch gives it: ``block1.relu``."""

    path: str
    layer: Module
    rank: int  # axes of its input


@dataclass(frozen=True, eq=False)
class Structure:
    """Leaf layers in order; learned parameters that the output does not depend on; those that do not learn."""

    passed: tuple[Passed, ...]
    unused: tuple[str, ...]
    frozen: tuple[str, ...]
    parameters: int

    @classmethod
    def of(cls, model: Module, shape: tuple[int, ...]) -> Structure | None:
        """Traced on one sample's shape, by arithmetic alone; None where that fails: the step will say why."""
        try:
            with Trace(training=True) as trace:
                output = model(trace.input("x", TensorType(model.dtype or DType.float32, (N, *shape))))
            needed = {id(value) for value in _reached(output)}
        except (StriateError, TypeError, AttributeError, ValueError):
            return None
        passed = _passed(trace, output)
        parameters = dict(model.named_state())
        read = {name for name, value in trace.inputs.items() if id(value) in needed}
        unused = tuple(name for name, parameter in parameters.items() if parameter.learned and name not in read)
        frozen = tuple(
            name for name, parameter in parameters.items() if parameter.learned and not parameter.requires_grad
        )
        learned = sum(
            int(np.prod(parameter.sizes)) for parameter in parameters.values() if parameter.learned and parameter.known
        )
        return cls(passed, unused, frozen, learned)

    @cached_property
    def maps(self) -> tuple[Passed, ...]:
        """Linear layers and convolutions, in order."""
        return tuple(one for one in self.passed if isinstance(one.layer, Maps))

    @cached_property
    def activations(self) -> tuple[Passed, ...]:
        """Sigmoid, tanh, ReLU and leaky ReLU layers, in order."""
        return tuple(one for one in self.passed if isinstance(one.layer, Activations))

    @cached_property
    def norms(self) -> tuple[Passed, ...]:
        """Batch normalizations, in order."""
        return tuple(one for one in self.passed if isinstance(one.layer, BatchNorm))

    @cached_property
    def by_path(self) -> dict[str, Passed]:
        """Leaf layers by path."""
        return {one.path: one for one in self.passed}

    @property
    def last(self) -> Passed | None:
        """The layer that gives the prediction, whatever only passes it on left out."""
        return next((one for one in reversed(self.passed) if not isinstance(one.layer, (Identity, Flatten))), None)

    @property
    def first_map(self) -> Passed | None:
        """The linear layer or convolution that reads the data."""
        return self.maps[0] if self.maps else None

    @property
    def normalized_input(self) -> bool:
        """Whether a batch normalization takes the scale of the data away before anything that is not linear."""
        for one in self.passed:
            if isinstance(one.layer, BatchNorm):
                return True
            if not isinstance(one.layer, (Convolution, Linear, Standardization, *_QUIET)):
                return False
        return False

    def normalized(self, path: str) -> bool:
        """Whether a batch normalization follows a linear layer or convolution before the next."""
        place = [one.path for one in self.passed].index(path)
        for one in self.passed[place + 1 :]:
            if isinstance(one.layer, Maps):
                return False
            if isinstance(one.layer, BatchNorm):
                return True
        return False

    def activation_of(self, path: str) -> Passed | None:
        """The activation that the output of a linear layer or convolution goes into, before the next such layer."""
        place = [one.path for one in self.passed].index(path)
        for one in self.passed[place + 1 :]:
            if isinstance(one.layer, Maps):
                return None
            if isinstance(one.layer, Activations):
                return one
        return None

    def map_of(self, path: str) -> Passed | None:
        """The linear layer or convolution whose output goes into the layer at ``path``."""
        place = [one.path for one in self.passed].index(path)
        return next((one for one in reversed(self.passed[:place]) if isinstance(one.layer, Maps)), None)


def _passed(trace: Trace, output: object) -> tuple[Passed, ...]:
    """Layers and called activations in the order in which they run, the first pass of each."""
    found: list[tuple[int, Passed]] = []
    of_layers = {step.output for step in trace.calls}
    for step in trace.calls:
        if step.is_leaf and isinstance(step.layer, Module):
            rank = step.inputs[0].type.rank if step.inputs else 0
            found.append((step.output.node.serial, Passed(step.path, step.layer, rank)))
    uses: dict[str, int] = {}
    for node in topological(output_values(output).values()):
        kind = _CALLED.get(type(node.op))
        if kind is not None and node.outputs[0] not in of_layers:
            name = str(node.op).partition("(")[0]
            path = f"{node.path}.{name}" if node.path else name
            uses[path] = uses.get(path, 0) + 1
            numbered = path if uses[path] == 1 else f"{path}#{uses[path]}"
            slope = getattr(node.op, "negative_slope", 0.0)
            layer = LeakyReLU(slope) if kind is LeakyReLU else kind()
            found.append((node.serial, Passed(numbered, layer, node.inputs[0].type.rank)))
    # A view or a layer that does nothing has the number of the node before it: those stay in the order of the trace.
    found.sort(key=lambda one: one[0])
    first: dict[str, Passed] = {}
    for _, one in found:
        first.setdefault(one.path, one)
    return tuple(first.values())


def _reached(output: object) -> list[Value]:
    """Every value that the outputs depend on."""
    return [value for node in topological(output_values(output).values()) for value in node.outputs]


def as_drawn(model: Module, name: str, parameter: Parameter) -> bool:
    """Whether a parameter holds what its initializer drew for it: nobody ever gave it other contents."""
    if parameter.array is None:
        return parameter.initial is None
    seed = model.__dict__.get("_seed") or 0
    fan_in = parameter.fan_in if parameter.fan_in is not None else int(np.prod(parameter.sizes[1:]))
    fresh: Array = drawn(parameter.init, parameter.sizes, fan_in, generator(seed, name), name)
    return bool(np.array_equal(fresh.astype(parameter.array.dtype), parameter.array))
