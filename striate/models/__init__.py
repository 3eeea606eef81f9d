"""Named networks."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from striate import options as checked
from striate.errors import unknown_option
from striate.models.plain import first_cnn, lenet5, mlp, vgg_small
from striate.models.residual import resnet18, resnet20
from striate.nn.container import Sequential

MODELS: dict[str, Callable[..., Sequential]] = {
    "first_cnn": first_cnn,
    "lenet5": lenet5,
    "vgg_small": vgg_small,
    "resnet20": resnet20,
    "resnet18": resnet18,
    "mlp": mlp,
}


def options_of(name: str) -> dict[str, Any]:
    """The options of a named network besides channels and classes, with their defaults."""
    parameters = inspect.signature(MODELS[checked.choice("model", name, MODELS)]).parameters.values()
    return {one.name: one.default for one in parameters if one.name not in ("channels", "classes")}


def build(
    name: str, *, channels: int | None = None, classes: int = 10, seed: int | None = None, **options: Any
) -> Sequential:
    """A named network. Raises ``OptionError`` for an unknown name or option, listing the known ones.

    model = st.models.build("lenet5", channels=1, classes=10, activation="relu", seed=0)
    """
    known = options_of(name)
    for option in options:
        if option not in known:
            raise unknown_option(f"option of {name}", option, [*known, "channels", "classes", "seed"])
    given = {} if channels is None else {"channels": channels}
    model = MODELS[name](classes=classes, **given, **options)
    return model if seed is None else model.initialize(seed)


__all__ = ["MODELS", "build", "first_cnn", "lenet5", "mlp", "options_of", "resnet18", "resnet20", "vgg_small"]
