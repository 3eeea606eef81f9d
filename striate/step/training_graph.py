"""Builds the graph of a training step.

    x → model → prediction;  prediction, y → loss → gradients with respect to the trained parameters
    also: the new contents of running statistics, and the values that a watch requests

The training step runs this graph; code that shows, measures or explains training builds the same graph with this
module.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from striate.errors import OptionError, ShapeError
from striate.graph.graph import Graph, Input, OutputKind, OutputRole, rewrite
from striate.graph.op import Node
from striate.graph.reshape import reshape
from striate.graph.value import DType, N, Shape, TensorType, Value
from striate.nn.loss import Loss
from striate.nn.module import Module
from striate.nn.parameter import Parameter
from striate.ops import reduction
from striate.passes.differentiate import differentiate
from striate.tracing import LayerCall, Trace, Tree, flatten_tree, rebuild_tree
from striate.watch import Observation, observe

LOSS = "loss"
"""The name of the output with the loss."""
WEIGHT = "sample weights"
"""The name of the input with the coefficients of the samples (N,), if samples are weighted."""
SHARE = "share of the batch"
"""The name of the scalar input by which the loss is multiplied, if several ranks share a batch."""
FIRST_ROW = "first row"
"""The name of the int64 input with the index of the first sample in the batch that several ranks share."""


def gradient_name(parameter: str) -> str:
    """Return the name of the graph's output that is the gradient with respect to ``parameter``."""
    return f"gradient of {parameter}"


def statistic_name(state: str) -> str:
    """Return the name of the graph's output that is the new contents of the running statistic ``state``."""
    return f"new {state}"


@dataclass(frozen=True)
class TrainingGraph:
    """A training step as a graph; ``graph.roles`` says what each output is: the loss, a gradient …

    ``trace`` has the parameters that were read, and ``calls`` are the calls of the model's layers in order.
    ``prediction`` is the value that the loss compares with the target; if the model has several outputs, it is the
    first. ``observation`` has the statistics for watches, or is None if no layer is watched.
    """

    graph: Graph
    trace: Trace
    prediction: Value
    calls: tuple[LayerCall, ...]
    observation: Observation | None


def training_graph(
    model: Module,
    loss: Loss,
    x: TensorType | Sequence[TensorType],
    y: Tree = None,
    *,
    watch: Collection[str] = (),
    trained: Collection[str] | None = None,
    weighted: bool = False,
    shared: bool = False,
    synchronized: bool = False,
) -> TrainingGraph:
    """Build the graph of a training step for inputs of the types ``x`` and targets of the types ``y``.

    ``y`` is a type or, for a loss of several targets, a tuple or dict of types; None means the type that the loss
    expects for the prediction. ``watch`` are patterns of layer paths, as in ``TrainingStep.watch``. ``trained`` names
    the parameters to differentiate with respect to; None means those whose ``requires_grad`` is True. With
    ``weighted``, the loss is Σ c_n l_n, where l_n is the loss of sample n and c is the input ``WEIGHT`` (N,).

    With ``shared``, the samples are part of a batch that several ranks (processes) share: the loss is multiplied by the
    input ``SHARE``, so that the sum over the ranks is the loss of the whole batch. The input ``FIRST_ROW`` is the row
    of the first sample in the whole batch, on which random numbers depend. With ``synchronized``, batch normalization
    computes its statistics over the samples of all ranks.

    Raises ``ShapeError`` if the model's outputs do not fit the loss or ``y``, and ``OptionError`` for unknown names in
    ``trained``.
    """
    with Trace(training=True, synchronized=synchronized) as trace:
        given = [x] if isinstance(x, TensorType) else x
        result = model(*(trace.input(f"x{i}" if i else "x", type) for i, type in enumerate(given)))
        values = [leaf for _, leaf in flatten_tree(result, "") if isinstance(leaf, Value)]
        if not values or not (isinstance(result, Value) or loss.takes_trees):
            raise ShapeError(
                f"{type(loss).__name__} needs a model with one output, but forward returned a {type(result).__name__}\n"
                "  help: a function of all outputs as the loss, such as lambda out, y: ce(out[0], y) + mse(out[1], y)"
            )
        prediction = values[0]
        calls = tuple(trace.calls)  # before the call of the loss, which is a module too
        target = loss.target_type(prediction.type) if y is None else y
        if isinstance(target, TensorType):
            loss.check_shape(target.shape, prediction.shape, target.dtype)
        targets = rebuild_tree(target, [trace.input(name, type) for name, type in flatten_tree(target, "y")])
        value = _weighted(loss, trace, result, targets) if weighted else _one_number(loss, loss(result, targets))
        if shared:
            value = value * trace.input(SHARE, TensorType(value.dtype, ()))
        parameters = {name: trace.read(parameter) for name, parameter in _trained(model, trained).items()}
        gradients = differentiate(value, list(parameters.values()))
        outputs = {LOSS: value}
        roles = {LOSS: OutputRole(OutputKind.LOSS)}
        for name, gradient in zip(parameters, gradients):
            outputs[gradient_name(name)] = gradient
            roles[gradient_name(name)] = OutputRole(OutputKind.GRADIENT, name)
        for name, new in trace.updates.items():
            outputs[statistic_name(name)] = new
            roles[statistic_name(name)] = OutputRole(OutputKind.STATISTIC, name)
        observation = None
        if watch:
            observation = observe(_matching(watch), calls, prediction, model.dtype or DType.float32)
            outputs |= observation.outputs
            roles |= observation.roles
        graph = trace.graph(outputs, roles=roles)
        return TrainingGraph(with_first_row(graph) if shared else graph, trace, prediction, calls, observation)


def with_first_row(graph: Graph) -> Graph:
    """Return the graph with a new input ``FIRST_ROW``, () int64: the row of the first sample in the whole batch.

    Random operations of the graph, such as dropout, then draw for each sample the numbers that belong to its row in the
    whole batch. A graph without random operations is returned unchanged.
    """
    first = Input(FIRST_ROW, TensorType(DType.int64, ()))()

    def shifted(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        return Node(node.op, (*inputs, first), node.path).outputs if node.op.takes_first_row else None

    found = rewrite(graph, shifted)
    used = any(node.op.takes_first_row for node in found.nodes)
    return replace(found, inputs={**found.inputs, FIRST_ROW: first}) if used else graph


def _weighted(loss: Loss, trace: Trace, result: Any, targets: Any) -> Value:
    """Return the loss Σ_n c_n Σ_p l_np over the items p of each sample n, with c as an input of the graph."""
    losses = loss.losses(result, targets)
    weight = trace.input(WEIGHT, TensorType(losses.dtype, (N,)))
    return reduction.sum(losses * reshape(weight, (N, *(1,) * (losses.type.rank - 1))))


def _one_number(loss: Loss, value: object) -> Value:
    """Return the loss as a scalar; raise ``ShapeError`` if it is not a single number."""
    if not isinstance(value, Value) or value.type.size() != 1 or value.type.batched:
        got = str(value.type) if isinstance(value, Value) else f"a {type(value).__name__}"
        raise ShapeError(f"{loss!r} returned {got}; training needs one number\n  help: st.ops.mean(…)")
    return reshape(value, ())


def batch_type(shape: tuple[int, ...], dtype: DType) -> TensorType:
    """Return the type of a batch of samples of the given shape: elements of ``dtype``, shape (N, *shape)."""
    batch: Shape = (N, *shape)
    return TensorType(dtype, batch)


def _trained(model: Module, names: Collection[str] | None) -> dict[str, Parameter]:
    learned = {name: parameter for name, parameter in model.named_state() if parameter.learned}
    if names is None:
        return {name: parameter for name, parameter in learned.items() if parameter.requires_grad}
    if unknown := [name for name in names if name not in learned]:
        raise OptionError(f"trained={unknown}: not among the parameters {', '.join(learned)}")
    return {name: parameter for name, parameter in learned.items() if name in names}


def _matching(patterns: Collection[str]) -> Callable[[str], bool]:
    return lambda path: any(fnmatchcase(path, pattern) for pattern in patterns)
