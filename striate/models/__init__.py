"""Ready-made networks, and ``build``, which makes them by name.

In every network, ``channels`` is the number of input channels, and ``classes`` the number of outputs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from striate import habits
from striate import options as checked
from striate.errors import unknown_option
from striate.models.airbench import airbench
from striate.models.convnext import convnext_tiny
from striate.models.densenet import densenet121, densenet_small
from striate.models.mobile import efficientnet_b0, mobilenet_v2, mobilenet_v3_small
from striate.models.plain import first_cnn, lenet5, mlp, vgg_small
from striate.models.residual import preact_resnet18, resnet18, resnet20, resnet34, resnet50
from striate.models.signals import fcn, inception_time, resnet1d
from striate.models.squeezenet import squeezenet1_1
from striate.models.unet import unet
from striate.models.vgg import vgg11_bn, vgg16_bn
from striate.models.volumes import resnet18_3d

if TYPE_CHECKING:
    from striate.nn.module import Module

MODELS: dict[str, Callable[..., Module]] = {
    "first_cnn": first_cnn,
    "lenet5": lenet5,
    "vgg_small": vgg_small,
    "airbench": airbench,
    "resnet20": resnet20,
    "resnet18": resnet18,
    "mlp": mlp,
    "resnet34": resnet34,
    "resnet50": resnet50,
    "preact_resnet18": preact_resnet18,
    "vgg11_bn": vgg11_bn,
    "vgg16_bn": vgg16_bn,
    "densenet_small": densenet_small,
    "densenet121": densenet121,
    "squeezenet1_1": squeezenet1_1,
    "mobilenet_v2": mobilenet_v2,
    "mobilenet_v3_small": mobilenet_v3_small,
    "efficientnet_b0": efficientnet_b0,
    "convnext_tiny": convnext_tiny,
    "fcn": fcn,
    "resnet1d": resnet1d,
    "inception_time": inception_time,
    "resnet18_3d": resnet18_3d,
    "unet": unet,
}
"""The networks by name: functions of ``channels``, ``classes`` and other options that return a module."""


def options_of(name: str) -> dict[str, Any]:
    """Return the options of the network ``name`` as a dict of their defaults, without ``channels`` and ``classes``.

    Raises ``OptionError`` for an unknown name; the message lists the known names.
    """
    parameters = inspect.signature(MODELS[checked.choice("model", name, MODELS)]).parameters.values()
    return {one.name: one.default for one in parameters if one.name not in ("channels", "classes")}


def build(
    name: str, *, channels: int | None = None, classes: int = 10, seed: int | None = None, **options: Any
) -> Module:
    """Return a new network by its name.

    ``channels`` is the number of input channels; None means the default of the network. ``classes`` is the number of
    outputs. The other options are those of the function in ``st.models`` with the same name as the network. With a
    ``seed``, the random initial parameters are drawn at once; with None, when the network first runs. Raises
    ``OptionError`` for an unknown name or option; the message lists the valid ones.

        model = st.models.build("lenet5", channels=1, classes=10, activation="relu", seed=0)
    """
    known = options_of(name)
    for option in options:
        if option not in known:
            raise unknown_option(f"option of {name}", option, [*known, "channels", "classes", "seed"])
    given = {} if channels is None else {"channels": channels}
    model = MODELS[name](classes=classes, **given, **options)
    return model if seed is None else model.initialize(seed)


__all__ = [
    "MODELS", "build", "options_of",
    "first_cnn", "lenet5", "vgg_small", "airbench", "mlp",
    "resnet18", "resnet20", "resnet34", "resnet50", "preact_resnet18", "vgg11_bn", "vgg16_bn",
    "densenet121", "densenet_small", "squeezenet1_1",
    "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "convnext_tiny",
    "fcn", "resnet1d", "inception_time", "resnet18_3d", "unet",
]  # fmt: skip


def __getattr__(name: str) -> object:
    raise habits.missing("models", name, __all__, {})
