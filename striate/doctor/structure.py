"""The network as the rules see it: its layers in running order, and the parameters that cannot learn."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from striate.errors import StriateError
from striate.graph.elementwise import Elementwise
from striate.graph.graph import topological
from striate.graph.op import Kind, Op
from striate.graph.value import Array, DType, N, TensorType, Value
from striate.locks import cached_property
from striate.nn.initialization import drawn, generator
from striate.nn.kind import LayerKind
from striate.nn.module import Module
from striate.nn.normalization import Normalization
from striate.nn.parameter import Parameter
from striate.tracing import LayerCall, Trace, output_values

_KEEPS_UNITS = (LayerKind.RESHAPE, LayerKind.DROPOUT, LayerKind.POOLING)
"""Kinds of layers that do not remove the scale of the data, as a normalization does."""


@dataclass(frozen=True)
class Passed:
    """A leaf layer (without layers inside), or an activation that a ``forward`` calls directly, in a network.

    path    path of the layer; for a called activation the name that the watch uses, such as ``block1.relu``
    layer   the layer; None for a called activation
    op      the only operation of the layer; None if it consists of several, or has parameters
    rank    number of axes of its input
    """

    path: str
    layer: Module | None
    op: Op | None
    rank: int

    @property
    def kind(self) -> LayerKind:
        """The kind of the layer; ``LayerKind.OTHER`` for a called activation."""
        return LayerKind.OTHER if self.layer is None else self.layer.layer_kind

    @property
    def activation(self) -> Elementwise | None:
        """The operation if it is an activation function, else None."""
        return self.op if isinstance(self.op, Elementwise) and self.op.is_activation else None

    @property
    def normalization(self) -> Normalization | None:
        """The layer if it is a normalization, else None."""
        return self.layer if isinstance(self.layer, Normalization) else None

    @property
    def name(self) -> str:
        """The name for messages: ``nn.ReLU`` for a layer, ``st.ops.relu`` for a called activation."""
        if self.layer is not None:
            return f"nn.{type(self.layer).__name__}"
        return f"st.ops.{self.op.call_name()}" if self.op is not None else self.path

    @property
    def parameters(self) -> dict[str, Parameter]:
        """The layer's own parameters and buffers by name; empty for a called activation."""
        return {} if self.layer is None else self.layer.own_state()


@dataclass(frozen=True, eq=False)
class Structure:
    """What the rules know about a network: its layers in running order, and parameters that cannot learn.

    passed        leaf layers and called activations, in the order in which they run
    unused        names of learned parameters that the output does not depend on
    frozen        names of learned parameters whose ``requires_grad`` is False
    parameters    number of elements of all learned parameters of known size
    outputs       size of axis 1 of the prediction; 0 if it has no such axis
    probabilities whether the prediction is the result of a softmax
    unregistered  class names of layers with parameters that ``forward`` calls although no module has them as an
                  attribute (they are in a Python list, for example)
    """

    passed: tuple[Passed, ...]
    unused: tuple[str, ...]
    frozen: tuple[str, ...]
    parameters: int
    outputs: int = 0
    probabilities: bool = False
    unregistered: tuple[str, ...] = ()

    @classmethod
    def of(cls, model: Module, shape: tuple[int, ...]) -> Structure | None:
        """Trace the model on inputs of shape (N, *shape), without computing anything.

        Returns None if tracing fails; the training step reports that error itself.
        """
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
        known = {id(module) for _, module in model.named_modules()}
        unregistered = {
            id(step.layer): type(step.layer).__name__
            for step in trace.calls
            if isinstance(step.layer, Module) and id(step.layer) not in known and step.layer.own_state()
        }
        first = next(iter(output_values(output).values()))
        source = first.node
        while source.op.kind is Kind.VIEW:
            source = source.inputs[0].node
        channels = first.shape[1] if first.type.rank > 1 else 0
        return cls(
            passed, unused, frozen, learned,
            outputs=channels if isinstance(channels, int) else 0,
            probabilities=source.op.gives_probabilities,
            unregistered=tuple(unregistered.values()),
        )  # fmt: skip

    @cached_property
    def maps(self) -> tuple[Passed, ...]:
        """The linear layers and convolutions, in running order."""
        return tuple(one for one in self.passed if one.kind is LayerKind.LINEAR)

    @cached_property
    def activations(self) -> tuple[Passed, ...]:
        """The activation layers and called activations, in running order."""
        return tuple(one for one in self.passed if one.activation is not None)

    @cached_property
    def norms(self) -> tuple[Passed, ...]:
        """The normalization layers (batch normalization and others), in running order."""
        return tuple(one for one in self.passed if one.normalization is not None)

    @cached_property
    def by_path(self) -> dict[str, Passed]:
        """The leaf layers and called activations, by dotted path."""
        return {one.path: one for one in self.passed}

    @property
    def last(self) -> Passed | None:
        """The layer that computes the prediction: the last one that does more than reshape.

        It is None for an empty network.
        """
        return next((one for one in reversed(self.passed) if one.kind is not LayerKind.RESHAPE), None)

    @property
    def first_map(self) -> Passed | None:
        """The first linear layer or convolution, which reads the data; None if there is none."""
        return self.maps[0] if self.maps else None

    @property
    def normalized_input(self) -> bool:
        """Whether a normalization removes the scale of the data before the first activation.

        Linear layers, convolutions, pooling, dropout and reshaping may come before it.
        """
        for one in self.passed:
            if one.normalization is not None:
                return True
            if one.kind not in (LayerKind.LINEAR, LayerKind.STANDARDIZATION, *_KEEPS_UNITS):
                return False
        return False

    def normalized(self, path: str) -> bool:
        """Return whether a normalization runs between the layer at ``path`` and the next layer with weights.

        A layer with weights is a linear layer or a convolution.
        """
        for one in self._after(path):
            if one.kind is LayerKind.LINEAR:
                return False
            if one.normalization is not None:
                return True
        return False

    def activation_of(self, path: str) -> Elementwise | None:
        """Return the activation between the linear layer or convolution at ``path`` and the next one.

        The result is None if there is no activation between them.
        """
        for one in self._after(path):
            if one.kind is LayerKind.LINEAR:
                return None
            if one.activation is not None:
                return one.activation
        return None

    def map_of(self, path: str) -> Passed | None:
        """Return the last linear layer or convolution before the layer at ``path``; None if there is none."""
        place = [one.path for one in self.passed].index(path)
        return next((one for one in reversed(self.passed[:place]) if one.kind is LayerKind.LINEAR), None)

    def _after(self, path: str) -> tuple[Passed, ...]:
        """Return the layers that run after the one at ``path``."""
        return self.passed[[one.path for one in self.passed].index(path) + 1 :]


def _passed(trace: Trace, output: object) -> tuple[Passed, ...]:
    """Return the leaf layers and called activations in running order.

    A layer that runs several times is listed where it runs first.
    """
    found: list[tuple[int, Passed]] = []
    of_layers = {step.output for step in trace.calls}
    for step in trace.calls:
        if step.is_leaf and isinstance(step.layer, Module):
            rank = step.inputs[0].type.rank if step.inputs else 0
            found.append((step.output.node.serial, Passed(step.path, step.layer, _only_operation(step), rank)))
    uses: dict[str, int] = {}
    for node in topological(output_values(output).values()):
        if isinstance(node.op, Elementwise) and node.op.is_activation and node.outputs[0] not in of_layers:
            name = node.op.call_name()
            path = f"{node.path}.{name}" if node.path else name
            uses[path] = uses.get(path, 0) + 1
            numbered = path if uses[path] == 1 else f"{path}#{uses[path]}"
            found.append((node.serial, Passed(numbered, None, node.op, node.inputs[0].type.rank)))
    # A layer that returns its input has the serial number of the node before it: the stable sort keeps trace order.
    found.sort(key=lambda one: one[0])
    first: dict[str, Passed] = {}
    for _, one in found:
        first.setdefault(one.path, one)
    return tuple(first.values())


def _only_operation(step: LayerCall) -> Op | None:
    """Return the operation of a layer that applies one operation to its inputs and nothing else, or None."""
    node = step.output.node
    own = step.output not in step.inputs and len(node.inputs) == len(step.inputs)
    return node.op if own and all(a is b for a, b in zip(node.inputs, step.inputs)) else None


def _reached(output: object) -> list[Value]:
    """Return every value of the graph that the outputs depend on."""
    return [value for node in topological(output_values(output).values()) for value in node.outputs]


def as_drawn(model: Module, name: str, parameter: Parameter) -> bool:
    """Return whether the parameter ``name`` of a model still has its initial values, neither trained nor loaded."""
    if parameter.array is None:
        return parameter.current is None
    seed = model.__dict__.get("_seed") or 0
    fan_in = parameter.fan_in if parameter.fan_in is not None else int(np.prod(parameter.sizes[1:]))
    fresh: Array = drawn(parameter.init, parameter.sizes, fan_in, generator(seed, name), name)
    return bool(np.array_equal(fresh.astype(parameter.array.dtype), parameter.array))


def copied_units(structure: Structure) -> tuple[str, ...]:
    """Return the paths of linear layers and convolutions whose units remain copies of each other.

    All units of such a layer start with equal weights, and their weights in the next layer are equal too. They
    therefore have the same gradient in every step. A layer of equal units between layers with random weights is not
    listed.
    """
    weights = [(one.path, one.parameters["weight"].data) for one in structure.maps if "weight" in one.parameters]
    found: list[str] = []
    for (path, weight), (_, following) in pairwise(weights):
        alike = len(weight) > 1 and bool((weight == weight[:1]).all())
        if alike and following.ndim > 1 and bool((following == following[:, :1]).all()):
            found.append(path)
    return tuple(found)
