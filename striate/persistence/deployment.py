"""Rewrite the graph of a prediction for an export, and draw random inputs on which the export is checked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from striate.data.standardizer import Standardizer
from striate.errors import ShapeError
from striate.graph.graph import Graph, rewrite
from striate.graph.op import at_path
from striate.graph.value import Array, TensorType, Value
from striate.ops.axis_softmax import softmax
from striate.ops.extremes import argmax

_STANDARDIZER = "standardizer"
SAMPLES = 16
"""The number of random samples on which an export is checked if no others are given."""


def without_standardizer(graph: Graph) -> Graph:
    """Return the graph without its standardizer; its first input must then be standardized by the caller.

    A graph without a standardizer is returned unchanged.
    """
    inside = [node for node in graph.nodes if node.path.rpartition(".")[2] == _STANDARDIZER]
    if not inside:
        return graph
    x, last = next(iter(graph.inputs.values())), inside[-1]
    return rewrite(graph, lambda node, _: (x,) if node is last else None)


def with_softmax(graph: Graph) -> Graph:
    """Return the graph with its last output replaced by the softmax of that output over axis 1.

    Raises ``ShapeError`` if that output has no axis 1.
    """
    name, value = _scores(graph, "softmax=True")
    with at_path("softmax"):
        return replace(graph, outputs={**graph.outputs, name: softmax(value)})


def with_labels(graph: Graph) -> Graph:
    """Return the graph with its last output replaced by the index of the largest element along axis 1, as int64.

    Raises ``ShapeError`` if that output has no axis 1.
    """
    name, value = _scores(graph, "labels=True")
    with at_path("labels"):
        return replace(graph, outputs={**graph.outputs, name: argmax(value, 1)})


def _scores(graph: Graph, asked: str) -> tuple[str, Value]:
    """Return the last output, which must have one score for each class along axis 1."""
    name, value = list(graph.outputs.items())[-1]
    if value.type.rank < 2:
        raise ShapeError(f"{asked}: the last output {value.type} has no axis of classes")
    return name, value


def drawn_input(type: TensorType, standardizer: Standardizer | None, samples: int = SAMPLES) -> Array:
    """Return ``samples`` random samples for an input of the dtype and shape ``type``, normally distributed.

    Each feature or channel has mean 0 and standard deviation 1, or the mean and standard deviation of the standardizer
    if there is one. The numbers are the same in every call.
    """
    numbers = np.random.default_rng(0).standard_normal(type.concrete(samples))
    if standardizer is not None:
        shape = (1, -1, *(1,) * (numbers.ndim - 2))
        numbers = numbers * standardizer.sigma.reshape(shape) + standardizer.mean.reshape(shape)
    return numbers.astype(type.dtype.numpy)
