"""The arrays of a batch, named like the inputs of the training graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from striate.errors import DataError, OptionError, ShapeError
from striate.graph.value import Array, DType, TensorType
from striate.nn.loss import Loss
from striate.nn.module import Module
from striate.step.sample_weights import checked_weights
from striate.tracing import Tree, array_type, flatten_tree, rebuild_tree, tree_structure


@dataclass(frozen=True)
class Batch:
    """A batch: inputs ``x``, ``x1``, … and targets ``y``, or ``y.0``, ``y.label``, … if they are nested.

    ``tree`` has the nesting (tuples, lists, dicts) of the targets, and is None for a single target. ``weights`` are the
    sample weights, (N,) float64, or None if none were given.
    """

    inputs: Mapping[str, Array]
    targets: Mapping[str, Array]
    tree: Tree
    weights: Array | None = None
    """The weights of the samples, (N,) float64, or None if none were given."""

    @property
    def arrays(self) -> dict[str, Array]:
        """The inputs and targets by name, in one dict; the sample weights are not in it."""
        return {**self.inputs, **self.targets}

    @property
    def samples(self) -> int:
        """The number of samples, N."""
        return len(self.inputs["x"])

    @property
    def kind(self) -> object:
        """A hashable key of everything in a batch that its compiled program depends on.

        It contains the shapes without N, the dtypes, the nesting, and whether there are sample weights.
        """
        types = tuple((name, array.shape[1:], array.dtype) for name, array in self.arrays.items())
        return types, tree_structure(self.tree), self.weights is not None

    @property
    def input_types(self) -> tuple[TensorType, ...]:
        """The types of the inputs, with the symbolic N as the size of axis 0."""
        return tuple(array_type(array, name, batched=True) for name, array in self.inputs.items())

    @property
    def target_types(self) -> Tree:
        """The types of the targets, with the symbolic N as the size of axis 0, nested as the targets are."""
        types = [array_type(array, name, batched=True) for name, array in self.targets.items()]
        return rebuild_tree(self.tree, cast("list[Any]", types))

    def main_target(self, part: Mapping[str, Array]) -> Array:
        """Return the target array of ``part``, which has arrays by name; if there are several targets, the first."""
        return part[next(iter(self.targets))]


def batch_of(model: Module, loss: Loss, x: Any, y: Any, weight: Any = None, *, part: bool = False) -> Batch:
    """Return the batch of inputs x and targets y, with arrays converted to a form that programs can read.

    Several inputs are a tuple in the order of the arguments of the model's ``forward``, or a dict by their names; a
    loss function of several outputs also accepts a tuple or dict of targets. ``weight`` (N,) are sample weights; None:
    all samples count alike. The weights may all be 0 if the samples are ``part`` of a larger batch.

    Raises ``DataError`` for an empty batch, ``ShapeError`` for inputs with different numbers of samples,
    ``OptionError`` for several targets if the loss takes only one, and the errors of the loss for unsuitable targets.
    """
    given: Sequence[Any] = (x,)
    if isinstance(x, tuple):
        given = cast("tuple[Any, ...]", x)
    elif isinstance(x, Mapping):
        given = model.ordered((), cast("Mapping[str, Any]", x))
    inputs = {f"x{i}" if i else "x": model.as_input(one, first=not i) for i, one in enumerate(given)}
    first = inputs.get("x")
    if first is None or first.ndim == 0 or len(first) == 0:
        shape = "without arrays" if first is None else f"of shape {first.shape}"
        raise DataError(
            f"a training step needs at least one sample, got x {shape}\n"
            "  help: x is (N, …), with one sample per index of axis 0"
        )
    n, dtype = len(first), (model.dtype or DType.float32).numpy
    if sizes := {name: array.shape[:1] for name, array in inputs.items() if array.shape[:1] != (n,)}:
        raise ShapeError(
            f"the inputs have different numbers of samples: {n} and {sizes}\n"
            "  help: axis 0 of every input counts the samples"
        )
    weights = None if weight is None else checked_weights(weight, n, part=part)
    if not isinstance(y, tuple | Mapping):
        return Batch(inputs, {"y": loss.target(y, n, dtype)}, None, weights)
    if not loss.takes_trees:
        raise OptionError(
            f"{loss!r} takes one target, not a {type(cast('object', y)).__name__}\n"
            "  help: as the loss, a function: lambda out, y: ce(out[0], y[0]) + mse(out[1], y[1])"
        )
    tree = cast("Tree", y)
    return Batch(inputs, {name: loss.target(leaf, n, dtype) for name, leaf in flatten_tree(tree, "y")}, tree, weights)
