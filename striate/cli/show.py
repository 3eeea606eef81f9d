"""``striate show``: a network as graph text, at any stage of the compiler."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from striate.cli.evaluate import model_path
from striate.errors import EngineError, OptionError, unknown_option
from striate.graph.arithmetic import reshape
from striate.graph.graph import Graph
from striate.graph.text import graph_text
from striate.graph.value import DType, N, TensorType
from striate.models import MODELS, build
from striate.nn.loss import CrossEntropyLoss
from striate.nn.module import Module
from striate.passes.differentiate import differentiate
from striate.persistence import load
from striate.tracing import Trace

try:
    from striate import compiler as _compiler  # pyright: ignore
except ModuleNotFoundError:
    _compiler = None


class Stage(Enum):
    """The stages, in the order in which the compiler passes them."""

    traced = "traced"
    differentiated = "differentiated"
    simplified = "simplified"
    layout = "layout"
    fused = "fused"
    memory = "memory"
    program = "program"


_GREY = ("first_cnn", "lenet5")


def show(
    model: Annotated[str, typer.Argument(help=f"{', '.join(MODELS)}, a run folder, or a model file.")],
    stage: Annotated[str, typer.Option(help=", ".join(Stage.__members__))] = "traced",
    shape: Annotated[
        str | None, typer.Option(help="Of one input.", show_default="3x32x32; lenet5, first_cnn 1x28x28")
    ] = None,
    classes: Annotated[int, typer.Option(help="Outputs of a named network.")] = 10,
) -> None:
    """Print the training of a network as graph text."""
    if stage not in Stage.__members__:
        raise unknown_option("stage", stage, Stage.__members__)
    network, sizes = opened(model, shape, classes)
    typer.echo(stage_text(network, sizes, Stage[stage]), nl=False)


def opened(model: str, shape: str | None, classes: int) -> tuple[Module, tuple[int, ...]]:
    """The network, and the shape of one input."""
    if model not in MODELS and Path(model).exists():
        loaded = load(model_path(Path(model)))
        return loaded, parsed_shape(shape) if shape else loaded.input_shape
    if model not in MODELS:
        raise unknown_option("model", model, [*MODELS, "a run folder", "a model file"])
    sizes = parsed_shape(shape or ("1x28x28" if model in _GREY else "3x32x32"))
    return build(model, channels=sizes[0], classes=classes), sizes


def parsed_shape(text: str) -> tuple[int, ...]:
    """(3, 32, 32) from "3x32x32"; raises ``OptionError``."""
    parts = text.lower().replace("×", "x").split("x")
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise OptionError(f"--shape {text!r}; wanted channels and sizes such as 3x32x32")
    return tuple(int(part) for part in parts)


def stage_text(network: Module, shape: tuple[int, ...], stage: Stage) -> str:
    """The graph of a training step after a stage; raises ``EngineError`` for a stage that is not there."""
    if stage is Stage.traced:
        return graph_text(training_graph(network, shape, with_gradients=False))
    graph = training_graph(network, shape, with_gradients=True)
    if stage is Stage.differentiated:
        return graph_text(graph)
    text: Any = getattr(_compiler, "stage_text", None)
    if text is None:
        raise EngineError(
            f"stage {stage.value!r} cannot be printed by the compiler of this installation\n"
            f"  help: --stage {Stage.traced.value} or --stage {Stage.differentiated.value}"
        )
    return str(text(graph, stage.value))


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
