"""The graph of a training step, as ``striate show`` prints it."""

from __future__ import annotations

from striate.graph.arithmetic import reshape
from striate.graph.graph import Graph
from striate.graph.value import DType, N, TensorType
from striate.nn.loss import CrossEntropyLoss
from striate.nn.module import Module
from striate.passes.differentiate import differentiate
from striate.tracing import Trace


def training_graph(network: Module, shape: tuple[int, ...], with_gradients: bool) -> Graph:
    """Inputs and labels → loss, new running statistics, and, where wanted, the gradient of every parameter."""
    with Trace(training=True) as trace:
        prediction = network(trace.input("x", TensorType(network.dtype or DType.float32, (N, *shape))))
        loss = CrossEntropyLoss()(prediction, trace.input("y", TensorType(DType.int64, (N,))))
        outputs = {"loss": reshape(loss, ())}
        if with_gradients:
            learned = {name: trace.read(slot) for name, slot in network.named_slots() if slot.learned}
            gradients = differentiate(loss, list(learned.values()))
            outputs |= {f"gradient of {name}": value for name, value in zip(learned, gradients)}
        return trace.graph(outputs, trace.updates)


def as_in_a_step(graph: Graph) -> Graph:
    """The graph with the outputs of ``TrainingStep``: new statistics wait until the step is known to be finite."""
    pending = {f"pending:{name}": value for name, value in graph.updates.items()}
    return Graph(graph.inputs, {**graph.outputs, **pending}, {}, graph.captured)
