"""The choices for a training, and the curves of activations, as JSON for the page.

Titles, descriptions and curves come from the operations and optimizers. A new operation or optimizer needs no
JavaScript.
"""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import numpy as np

from striate.errors import OptionError, unknown_option
from striate.graph.elementwise import Elementwise
from striate.graph.graph import Graph, Input
from striate.graph.interpreter import interpret
from striate.graph.operand import constant
from striate.graph.value import DType, TensorType
from striate.lab.requests import NORMS
from striate.models import MODELS, options_of
from striate.models.block import STARTS
from striate.nn.activation import ACTIVATION_LAYERS
from striate.optim import OPTIMIZERS, SCHEDULES

_REACH = 4.2
_POINTS = 169
_STEEPEST = 10.0
"""The largest |slope| for negative inputs for which a curve is drawn."""


def choices() -> dict[str, Any]:
    """Return models with options, activations, normalizations, initializations, optimizers and schedules."""
    return {
        "models": {name: options_of(name) for name in MODELS},
        "activations": {name: _described(operation_of(name)) for name in ACTIVATION_LAYERS},
        "norms": NORMS,
        "starts": STARTS,
        "optimizers": {
            name: {"title": kind.__name__, "about": kind.summary(), "options": [one.name for one in fields(kind)]}
            for name, kind in OPTIMIZERS.items()
        },
        "schedules": list(SCHEDULES),
    }


def operation_of(activation: str, slope: float = 0.1) -> Elementwise:
    """Return the operation of an activation; raise ``OptionError`` for an unknown one.

    ``slope`` is the slope for negative inputs; activations without such an option ignore it.
    """
    if activation not in ACTIVATION_LAYERS:
        raise unknown_option("activation", activation, ACTIVATION_LAYERS)
    return ACTIVATION_LAYERS[activation].with_slope(slope).operation


def _described(op: Elementwise) -> dict[str, Any]:
    return {
        "title": op.title or op.words(),
        "about": op.effect or op.equation(),
        "options": [one.name for one in fields(op)],
    }


def curve(activation: str, slope: str) -> dict[str, list[float]]:
    """Return the lists "x", "y" and "derivative": an activation and its derivative at 169 points from −4.2 to 4.2.

    ``slope`` is the slope for negative inputs, as a string; activations without such an option ignore it. Raises
    ``OptionError`` for an unknown activation, and for a slope that is not a number from −10 to 10.
    """
    try:
        number = float(slope)
    except ValueError:
        number = math.nan
    if not abs(number) <= _STEEPEST:
        raise OptionError(f"slope: expected a number from −{_STEEPEST:g} to {_STEEPEST:g}")
    op = operation_of(activation, number)
    type = TensorType(DType.float64, (_POINTS,))
    x, dy = Input("x", type)(), Input("dy", type)()
    learned = [constant(number, DType.float64) for _ in range(op.arity - 1)]  # the slope of PReLU
    y = op(x, *learned)
    dx = op.gradient((x, *learned), (y,), (dy,), (True, *(False for _ in learned)))[0]
    assert dx is not None
    places = np.linspace(-_REACH, _REACH, _POINTS)
    found, _ = interpret(Graph({"x": x, "dy": dy}, {"y": y, "dx": dx}), {"x": places, "dy": np.ones(_POINTS)})
    numbers = {"x": places, "y": found["y"], "derivative": found["dx"]}
    # JSON has no NaN, which an activation may have at a slope of 0.
    return {name: [round(float(one), 5) for one in np.nan_to_num(array)] for name, array in numbers.items()}
