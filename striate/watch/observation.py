"""Statistics of layer outputs, computed in the loops of the gradient program that compute the outputs.

For every layer's output y, and every unit (channel) c of it:

    mean       μ_c = (1/n) Σ y              over the samples and positions of the unit
    variance   σ²_c = (1/n) Σ (y − μ_c)²

and where y is the result of an elementwise operation (an activation, dropout), not of a linear layer, a convolution,
a normalization or a pooling:

    firing     Σ [y > 0]
    zeros      Σ [y = 0]
    saturated  Σ [y beyond the bounds of saturation], for operations that have ``Elementwise.saturation_bounds``

These statistics are additional outputs of the graph with the role ``OutputKind.WATCH``. ``passes.fuse`` places them
last, so that they join existing loops without changing other results. A view such as ``Flatten`` has the statistics
of its input, and a layer that returns the result of another layer has those of the other layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from striate.graph.elementwise import Elementwise, cast
from striate.graph.graph import OutputKind, OutputRole, topological
from striate.graph.op import Kind, at_path
from striate.graph.operand import constant
from striate.graph.value import Array, DType, Value
from striate.ops.comparison import greater, logical_or
from striate.ops.reduction import Moments, Sum
from striate.runtime.state import Section, aligned_zeros
from striate.tracing import LayerCall


@dataclass(frozen=True)
class Layer:
    """One use of the layer at ``path``, whose output is the watched tensor number ``tensor``.

    ``units`` is the layer's number of units (channels), or 0 if the layer reshapes the tensor so that channels no
    longer lie on axis 1.
    """

    path: str
    tensor: int
    units: int


@dataclass(frozen=True)
class Tensor:
    """The sizes of one watched tensor, which has ``units`` units (channels) of ``count`` elements each.

    If the tensor is ``batched``, that is, has N on axis 0, ``count`` is the number for one sample.
    """

    units: int
    count: int
    batched: bool

    def elements(self, samples: int) -> int:
        """Return the number of elements of one unit (channel) in a batch of this number of samples."""
        return self.count * (samples if self.batched else 1)


class Observation:
    """The statistics that one program computes: their values in the graph, and the arrays that receive them.

    ``observed`` has the values by (index of the tensor, name of the statistic); ``dtype`` is the dtype of the arrays.

    layers   the watched layers in running order
    tensors  the watched tensors
    outputs  graph values of the statistics, by name such as ``watch:3:mean``
    roles    the roles of these outputs in the graph
    places   the arrays that the program writes, by the same names
    flat     one flat array for each statistic, such as ``flat["firing"]``; the arrays in ``places`` are views of these
    parts    the slice of each tensor in these flat arrays
    passed   paths of all layers, watched or not, in running order
    """

    def __init__(
        self,
        layers: list[Layer],
        tensors: list[Tensor],
        observed: dict[tuple[int, str], Value],
        passed: list[str],
        dtype: DType,
    ) -> None:
        self.layers = layers
        self.tensors = tensors
        self.outputs = {f"watch:{tensor}:{what}": value for (tensor, what), value in observed.items()}
        self.roles = {name: OutputRole(OutputKind.WATCH, name.removeprefix("watch:")) for name in self.outputs}
        self.passed = passed
        self.places: dict[str, Array] = {}
        self.flat: dict[str, Array] = {}
        self.parts: dict[str, dict[int, slice]] = {}
        for what in ("mean", "variance", "firing", "zeros", "saturated"):
            tensor_of = {f"watch:{tensor}:{what}": tensor for tensor, kind in observed if kind == what}
            shapes = {
                name: tuple(int(dim) for dim in self.outputs[name].shape if isinstance(dim, int)) for name in tensor_of
            }
            section = Section.of(shapes)
            flat = self.flat[what] = aligned_zeros(section.length, dtype)
            self.places |= section.views(flat)
            self.parts[what] = {
                tensor_of[name]: slice(start, start + math.prod(shape))
                for name, (start, shape) in section.places.items()
            }

    def merge(self, others: Sequence[Mapping[str, Array]], samples: Sequence[int]) -> None:
        """Merge the statistics of all parts of a batch that was processed in parts, and write them to ``places``.

        Before the call, ``places`` has the statistics of the first part. ``others`` has the statistics of each other
        part, by the same names, and ``samples`` the numbers of samples of all parts. Counts are added; means and
        variances are merged in float64. Statistics of tensors that are not batched are left unchanged, because they are
        the same in every part.
        """
        with np.errstate(all="ignore"):  # the statistics of a step that diverges are not finite; the step names it
            self._merge(others, samples)

    def _merge(self, others: Sequence[Mapping[str, Array]], samples: Sequence[int]) -> None:
        share = (np.array(samples, np.float64) / sum(samples))[:, np.newaxis]
        for index, tensor in enumerate(self.tensors):
            names = [f"watch:{index}:{what}" for what in ("mean", "variance")]
            if not tensor.batched or names[0] not in self.places:
                continue
            mean, variance = (
                np.stack([one[name].reshape(-1).astype(np.float64) for one in (self.places, *others)]) for name in names
            )
            merged = (share * mean).sum(axis=0)
            spread = (share * (variance + (mean - merged) ** 2)).sum(axis=0)
            for name, values in zip(names, (merged, spread), strict=True):
                self.places[name][...] = values.reshape(self.places[name].shape)
            for name in (f"watch:{index}:{what}" for what in ("firing", "zeros", "saturated")):
                if name in self.places:
                    for one in others:
                        self.places[name][...] += one[name]

    def units_of(self, what: str, tensor: int, flat: Array | None = None) -> Array | None:
        """Return a statistic of each unit (channel) of one tensor, as float64 (C,), or None if it is not computed.

        ``what`` is the name of the statistic, such as "mean", and ``tensor`` the index of the tensor. The numbers are
        read from ``flat``, an array with the layout of ``self.flat[what]``; None: from ``self.flat[what]`` itself.
        """
        part = self.parts[what].get(tensor)
        return None if part is None else (self.flat[what] if flat is None else flat)[part].astype(np.float64)


def observe(wanted: Callable[[str], bool], passed: Sequence[LayerCall], prediction: Value, dtype: DType) -> Observation:
    """Add to the graph the statistics of the outputs at all paths that ``wanted`` accepts, and return them.

    The watched outputs are those of the layer calls ``passed``, and of activations that a module's own ``forward``
    calls: ``st.ops.relu`` in the module at "block1" has the path "block1.relu". Further uses of a path are ``path#2``,
    ``path#3`` … Activations are found among the nodes that ``prediction``, the model's output, depends on. ``dtype`` is
    the dtype of the statistics.
    """
    found: list[tuple[Layer, Value, bool]] = []
    uses: dict[str, int] = {}

    def add(path: str, y: Value, counted: bool) -> None:
        """Add one output; ``counted`` says whether its zeros and firings are counted."""
        number = uses[path] = uses.get(path, 0) + 1
        source = _source(y)
        if y.dtype.is_float and wanted(path) and source.node.op.kind is not Kind.SOURCE:
            units = _units(y) if _units(y) == _units(source) else 0
            found.append(
                (Layer(path if number == 1 else f"{path}#{number}", 0, units), source, counted and source is y)
            )

    for step in passed:
        add(step.path, step.output, not step.layer.own_state())
    of_layers = {step.output for step in passed}
    for node in topological([prediction]):
        if isinstance(node.op, Elementwise) and node.op.is_activation and node.outputs[0] not in of_layers:
            name = node.op.call_name()
            add(f"{node.path}.{name}" if node.path else name, node.outputs[0], True)
    found.sort(key=lambda one: one[1].node.serial)

    layers: list[Layer] = []
    tensors: list[Tensor] = []
    observed: dict[tuple[int, str], Value] = {}
    known: dict[Value, int] = {}
    for layer, y, counted in found:
        if y not in known:
            known[y] = len(tensors)
            with at_path(y.node.path):
                observed |= {(len(tensors), what): cast(value, dtype) for what, value in _observers(y, counted).items()}
            tensors.append(_tensor(y))
        layers.append(replace(layer, tensor=known[y]))
    return Observation(layers, tensors, observed, [step.path for step in passed], dtype)


def _source(value: Value) -> Value:
    """Return the value behind a view, or behind a chain of views."""
    while value.node.op.kind is Kind.VIEW:
        value = value.node.inputs[0]
    return value


def _units(value: Value) -> int:
    """Return the number of units of a value: the size of axis 1, or 1 if there is no axis 1."""
    dim = value.shape[1] if value.type.rank > 1 else 1
    return dim if isinstance(dim, int) else 1


def _tensor(y: Value) -> Tensor:
    """Return units and size of a value."""
    units = _units(y)
    return Tensor(units, y.type.with_shape(y.type.concrete(1)).size() // units, y.type.batched)


def _observers(y: Value, counted: bool) -> Mapping[str, Value]:
    """Return the statistics of one tensor as graph values, by name.

    Firings and zeros are counted for elementwise results only, since a linear layer has no threshold.
    """
    axes = tuple(axis for axis in range(y.type.rank) if axis != 1 or y.type.rank < 2)
    known = y.node.op.output_moments(y.node.inputs, y.node.outputs) if y is y.node.outputs[0] else None
    mean, variance = known or Moments(axes)(y)
    # Kernels flush denormals, so numbers below the smallest normal one count as 0; NaN does not.
    smallest = constant(float(np.finfo(y.dtype.numpy).tiny), y.dtype)
    found = {"mean": mean, "variance": variance}
    op = y.node.op
    if not (isinstance(op, Elementwise) and (counted or op.is_activation)):
        return found
    found["firing"] = Sum(axes)(cast(greater(y, constant(0.0, y.dtype)), y.dtype))
    found["zeros"] = Sum(axes)(cast(greater(smallest, abs(y)), y.dtype))
    if op.saturation_bounds is not None:
        low, high = (constant(end, y.dtype) for end in op.saturation_bounds)
        found["saturated"] = Sum(axes)(cast(logical_or(greater(y, high), greater(low, y)), y.dtype))
    return found
