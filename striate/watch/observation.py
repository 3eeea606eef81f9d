"""What a gradient program says of its layers' outputs: sums that run along in the loops which compute them anyway.

For every layer's output y, and every unit (channel) c of it:

    mean       μ_c = (1/n) Σ y              over the samples and positions of the unit
    variance   σ²_c = (1/n) Σ (y − μ_c)²
    firing     Σ [y > 0]
    zeros      Σ [y = 0]
    saturated  Σ [y on a flat end of its function], where it has one: ``Elementwise.flat_ends``

They are extra outputs of the graph, under names that start with ``watch:``; ``passes.fuse`` places them last, so they
join loops that exist and change nothing in them. Layers that merely hand on what another computed, and views such as
``Flatten``, share its numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from striate.graph.arithmetic import Elementwise, cast, constant
from striate.graph.op import Kind, at_path
from striate.graph.value import Array, DType, Value
from striate.ops.activation import absolute, greater
from striate.ops.reduction import Moments, Sum
from striate.state import Section, aligned_zeros
from striate.tracing import Step

PREFIX = "watch:"


@dataclass(frozen=True)
class Layer:
    """One use of a layer, and the tensor that its output is.

    ``units`` is 0 where the layer's output is a view whose units are not those of the tensor.
    """

    path: str
    tensor: int
    units: int


@dataclass(frozen=True)
class Tensor:
    """One watched tensor: ``count`` elements a unit and sample (in all, where not ``batched``)."""

    units: int
    count: int
    batched: bool

    def elements(self, samples: int) -> int:
        """Elements of one unit in a batch."""
        return self.count * (samples if self.batched else 1)


class Observation:
    """The observers of one program: their graph values, and the arrays that they write.

    ``outputs`` are graph values by name, ``places`` the arrays of the same names; those of one kind of number lie in
    one flat array, ``flat["firing"]`` …, so that counting on is one addition a step. ``passed`` are the paths of all
    layers, watched or not, in the order in which they were passed.
    """

    def __init__(
        self,
        layers: list[Layer],
        tensors: list[Tensor],
        outputs: dict[str, Value],
        passed: list[str],
        dtype: DType,
    ) -> None:
        self.layers = layers
        self.tensors = tensors
        self.outputs = outputs
        self.passed = passed
        self.places: dict[str, Array] = {}
        self.flat: dict[str, Array] = {}
        self.parts: dict[str, dict[int, slice]] = {}
        for what in ("mean", "variance", "firing", "zeros", "saturated"):
            shapes = {
                name: tuple(int(dim) for dim in value.shape if isinstance(dim, int))
                for name, value in outputs.items()
                if name.rpartition(":")[2] == what
            }
            section = Section.of(shapes)
            flat = self.flat[what] = aligned_zeros(section.length, dtype)
            self.places |= section.views(flat)
            self.parts[what] = {
                int(name.split(":")[1]): slice(start, start + math.prod(shape))
                for name, (start, shape) in section.places.items()
            }

    def units_of(self, what: str, tensor: int, flat: Array | None = None) -> Array | None:
        """The numbers of one kind of a tensor's units in float64; None where it has none of that kind."""
        part = self.parts[what].get(tensor)
        return None if part is None else (self.flat[what] if flat is None else flat)[part].astype(np.float64)


def observe(wanted: Callable[[str], bool], passed: Sequence[Step], dtype: DType) -> Observation:
    """The observers of the layers whose path is ``wanted``; of a layer used again as ``path#2``, ``path#3`` …"""
    layers: list[Layer] = []
    tensors: list[Tensor] = []
    outputs: dict[str, Value] = {}
    known: dict[Value, int] = {}
    uses: dict[str, int] = {}
    for step in passed:
        if not step.output.dtype.is_float:
            continue
        number = uses[step.path] = uses.get(step.path, 0) + 1
        source = _source(step.output)
        if not wanted(step.path) or source.node.op.kind is Kind.SOURCE:
            continue
        if source not in known:
            known[source] = len(tensors)
            with at_path(step.path):
                outputs |= {
                    f"{PREFIX}{len(tensors)}:{what}": cast(value, dtype) for what, value in _observers(source).items()
                }
            tensors.append(_tensor(source))
        units = tensors[known[source]].units
        path = step.path if number == 1 else f"{step.path}#{number}"
        layers.append(Layer(path, known[source], units if units == _units(step.output) else 0))
    return Observation(layers, tensors, outputs, [step.path for step in passed], dtype)


def _source(value: Value) -> Value:
    """What a view shows."""
    while value.node.op.kind is Kind.VIEW:
        value = value.node.inputs[0]
    return value


def _units(value: Value) -> int:
    dim = value.shape[1] if value.type.rank > 1 else 1
    return dim if isinstance(dim, int) else 1


def _tensor(y: Value) -> Tensor:
    units = _units(y)
    return Tensor(units, y.type.with_shape(y.type.concrete(1)).size() // units, y.type.batched)


def _observers(y: Value) -> Mapping[str, Value]:
    axes = tuple(axis for axis in range(y.type.rank) if axis != 1 or y.type.rank < 2)
    mean, variance = Moments(axes)(y)
    # What lies below the smallest normal number is a zero to the kernels, which flush denormals; NaN is none.
    smallest = constant(float(np.finfo(y.dtype.numpy).tiny), y.dtype)
    found = {
        "mean": mean,
        "variance": variance,
        "firing": Sum(axes)(greater(y, constant(0.0, y.dtype))),
        "zeros": Sum(axes)(greater(smallest, absolute(y))),
    }
    op = y.node.op
    if isinstance(op, Elementwise) and op.flat_ends is not None:
        low, high = (constant(end, y.dtype) for end in op.flat_ends)
        found["saturated"] = Sum(axes)(greater(y, high) + greater(low, y))
    return found
