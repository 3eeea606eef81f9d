"""Checks of the arguments of a training step."""

from __future__ import annotations

from importlib import import_module

from striate import settings
from striate.dtypes import Precision
from striate.errors import OptionError
from striate.graph.value import DType
from striate.nn.module import Module
from striate.optim.optimizer import Optimizer
from striate.settings import Engine


def require_precision(precision: Precision, dtype: DType | None = None) -> None:
    """Raise an error if ``precision`` is bfloat16 and bfloat16 cannot be used.

    The error is ``EngineError`` on a processor without the instructions, and ``OptionError`` for a model of float64.
    ``dtype`` is the dtype of the model; None: not known yet.
    """
    if precision is Precision.full:
        return
    if dtype is DType.float64:
        raise OptionError(
            'precision="bfloat16" is for models in float32, but this model is in float64\n  help: model.float()'
        )
    if settings.current().engine is Engine.COMPILED:
        targets = import_module("striate.codegen.target")
        for target in (targets.current(), targets.host()):
            targets.require_bfloat16(target)


def require_parts(model: object, optimizer: object) -> None:
    """Raise ``OptionError`` unless ``model`` is a ``Module`` and ``optimizer`` an ``Optimizer``."""
    for name, given, kind, example in (
        ("model", model, Module, "nn.Sequential(…)"),
        ("optimizer", optimizer, Optimizer, "optim.SGD(lr=0.05)"),
    ):
        if not isinstance(given, kind):
            raise OptionError(
                f"{name}={given!r:.200}: expected an object of {kind.__name__}\n"
                f"  help: the order is model, loss, optimizer; for example {example}"
            )
