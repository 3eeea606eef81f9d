"""The program that computes the loss and its gradients, one for each kind of batch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from striate.dtypes import Precision
from striate.engine import Executable, prepare
from striate.graph.contents import ContentCheck, content_checks, sample_checks
from striate.graph.graph import Graph, OutputKind
from striate.graph.value import Array, Shape
from striate.nn.loss import Loss
from striate.nn.module import Module
from striate.step.batch import Batch
from striate.step.memory import StepMemory
from striate.step.sharing import Sharing
from striate.step.training_graph import LOSS, gradient_name, statistic_name, training_graph
from striate.tracing import KEY
from striate.watch import Observation


@dataclass(frozen=True)
class GradientProgram:
    """The compiled program that computes the loss and gradients of one kind of batch (see ``Batch.kind``).

    ``executable`` runs ``graph`` on the arrays of parameters and states in ``bindings``; ``capacity`` is the largest N
    for which memory is planned. The program writes the loss, the gradients and the new running statistics to the arrays
    ``results``, by the name of the output. These arrays are part of the step's memory.

    Before each run, the functions in ``checks`` are called with N. ``contents`` are pairs (input name, function), and
    each function is called with the array of that input. ``prediction`` is the shape of the model's prediction, and
    ``counters`` are the names of the states that count steps. ``observation`` has the statistics for watches, or is
    None if no layer is watched.
    """

    executable: Executable
    results: Mapping[str, Array]
    graph: Graph
    bindings: Mapping[str, Array]
    prediction: Shape
    checks: tuple[Callable[[int], None], ...]
    contents: Sequence[ContentCheck]
    counters: tuple[str, ...]
    capacity: int
    observation: Observation | None

    @property
    def random(self) -> bool:
        """Whether the program draws random numbers (dropout), which need the input ``KEY``."""
        return KEY in self.graph.inputs


def prepare_gradients(
    model: Module,
    loss: Loss,
    memory: StepMemory,
    batch: Batch,
    *,
    watch: Collection[str],
    capacity: int,
    precision: Precision,
    sharing: Sharing | None = None,
) -> GradientProgram:
    """Trace, differentiate and compile the program for batches of the same kind as ``batch``.

    ``memory`` has the arrays to which the program writes its results. ``watch`` are patterns of watched layer paths;
    ``capacity`` is the largest N that will be run; ``precision`` says how activations are stored. ``sharing`` says how
    several ranks (processes) share a batch; None: this process is alone.
    """
    types = batch.input_types, batch.target_types
    made = training_graph(
        model, loss, *types, watch=watch, weighted=batch.weights is not None,
        shared=sharing is not None, synchronized=sharing is not None and sharing.synchronized,
    )  # fmt: skip
    graph, trace, observation = made.graph, made.trace, made.observation
    results = {LOSS: memory.loss}
    results |= {gradient_name(name): memory.gradients.views[name] for name in graph.outputs_of(OutputKind.GRADIENT)}
    results |= {statistic_name(name): memory.pending.views[name] for name in graph.outputs_of(OutputKind.STATISTIC)}
    results |= {} if observation is None else observation.places
    bindings = trace.bindings()
    return GradientProgram(
        prepare(graph, bindings, results, capacity, precision=precision),
        results,
        graph,
        bindings,
        made.prediction.shape,
        (*trace.checks, *sample_checks(graph)),
        content_checks(graph),
        tuple(trace.names[counter] for counter in trace.counters),
        capacity,
        observation,
    )
