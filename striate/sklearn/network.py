"""Build the networks of the estimators: by name, with a function, or as a copy of a module."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from striate import models
from striate.errors import OptionError, ShapeError
from striate.nn.module import Module

Network = str | Module | Callable[..., Module] | None
"""What the parameter ``network`` of an estimator can be."""
_SMALL = 32
"""The largest height and width of grey pictures for which the usual network is LeNet-5."""


def usual_network(shape: tuple[int, ...]) -> tuple[str, dict[str, Any]]:
    """Return the name and the options of the network that is used for samples of this shape (without N) by default.

    For (D,) features it is a perceptron with two hidden layers of 64 units. For (C, L), (C, H, W) and (C, D, H, W) it
    is a convolutional network. Raises ``ShapeError`` for other numbers of axes.
    """
    if len(shape) == 1:
        return "mlp", {"depth": 2, "width": 64, "norm": "none"}
    if len(shape) == 2:
        return "fcn", {}
    if len(shape) == 3:
        return ("lenet5" if shape[0] == 1 and max(shape[1:]) <= _SMALL else "resnet20"), {}
    if len(shape) == 4:
        return "resnet18_3d", {}
    raise ShapeError(
        f"no network is known for samples of shape {shape}\n"
        "  help: network=function, a function of (input_shape, outputs) that returns an nn.Module"
    )


def build_network(network: Network, options: Mapping[str, Any] | None, shape: tuple[int, ...], outputs: int) -> Module:
    """Return a new network for samples of ``shape`` (without N) with ``outputs`` numbers for each sample.

    ``network`` is a name, a function of (shape, outputs), or a module, which is copied; None: the network of
    ``usual_network``. ``options`` are keyword arguments of the named network or of the function.

    Raises ``OptionError`` for an unknown name or option, for options given with a module, and for a ``network`` of
    another type.
    """
    if options is not None and not isinstance(options, Mapping):
        raise OptionError(f"network_options={options!r}; expected a dict, such as {{'width': 32}}")
    given = dict(options or {})
    if isinstance(network, Module):
        if given:
            raise OptionError("network_options are for named networks and functions, not for a finished module")
        return copy.deepcopy(network)
    if network is None:
        name, usual = usual_network(shape)
        return models.build(name, channels=shape[0], classes=outputs, **usual | given)
    if isinstance(network, str):
        return models.build(network, channels=shape[0], classes=outputs, **given)
    if not callable(network):
        raise OptionError(
            f"network={network!r}; expected a name, a function of (input_shape, outputs), or an nn.Module\n"
            f"  known: {', '.join(models.MODELS)}"
        )
    try:
        inspect.signature(network).bind(shape, outputs, **given)
    except TypeError as error:
        raise OptionError(
            f"network={network!r}: {error}\n"
            "  help: a function of (input_shape, outputs), and of the network_options by name"
        ) from None
    found: object = network(shape, outputs, **given)
    if not isinstance(found, Module):
        raise OptionError(f"network{(shape, outputs)} returned a {type(found).__name__}, not an nn.Module")
    return found
