"""The graph of a training step, as ``striate show`` prints it."""

from __future__ import annotations

from dataclasses import replace

from striate.graph.graph import Graph, OutputKind
from striate.graph.value import DType
from striate.nn.loss import CrossEntropyLoss
from striate.nn.module import Module
from striate.step import batch_type
from striate.step import training_graph as graph_of_step


def training_graph(network: Module, shape: tuple[int, ...], with_gradients: bool) -> Graph:
    """Inputs and labels → loss, new running statistics as updates, and, if asked for, gradients of the parameters."""
    x = batch_type(shape, network.dtype or DType.float32)
    graph = graph_of_step(network, CrossEntropyLoss(), x, trained=None if with_gradients else ()).graph
    statistics = set(graph.names_of(OutputKind.STATISTIC))
    outputs = {name: value for name, value in graph.outputs.items() if name not in statistics}
    return replace(graph, outputs=outputs, updates=graph.outputs_of(OutputKind.STATISTIC))


def as_in_a_step(graph: Graph) -> Graph:
    """The graph with the outputs of ``TrainingStep``: new statistics wait until the step is known to be finite."""
    statistics = {
        name: graph.updates[role.of] for name, role in graph.roles.items() if role.kind is OutputKind.STATISTIC
    }
    return replace(graph, outputs={**graph.outputs, **statistics}, updates={})
