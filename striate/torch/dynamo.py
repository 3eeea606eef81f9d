"""The backend of ``torch.compile``: returns functions that run the graphs captured by Dynamo, PyTorch's tracer."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import fx

from striate import settings
from striate.errors import unknown_option
from striate.settings import Engine
from striate.torch.fused import adopt
from striate.torch.plan import Plan

OPTIONS = {"optimizer": ("fused",)}
"""The options that ``torch.compile(…, options=…)`` accepts, with their values."""


class StriateNotice(UserWarning):
    """The warning that a part of a model is run by PyTorch itself, because striate cannot compile it."""


_noticed: set[str] = set()


def notice(missing: Mapping[str, str]) -> None:
    """Warn that some functions of the model are run by PyTorch itself; equal warnings are given only once.

    ``missing`` maps the names of the functions to the reasons. The warning has all names, and the reason for the first.
    """
    names = sorted(missing)
    text = f"striate leaves {', '.join(names)} to PyTorch ({names[0]}: {missing[names[0]]})"
    if text not in _noticed:
        _noticed.add(text)
        warnings.warn(text, StriateNotice, stacklevel=2)


def backend(
    module: fx.GraphModule,
    examples: Sequence[Any],
    *,
    options: Mapping[str, Any] | None = None,
    mode: str | None = None,
) -> Callable[..., Any]:
    """Return a function that runs the graph ``module``: compiled by striate as far as possible, the rest by PyTorch.

    ``torch.compile(model, backend="striate")`` calls ``backend`` for each graph that it captures. ``examples`` are
    inputs of the graph; ``mode`` has no effect. With ``options={"optimizer": "fused"}``, SGD, Adam and AdamW of
    ``torch.optim`` update the parameters of the graph with a compiled program. Raises ``OptionError`` for other
    ``options``.
    """
    for name, value in (options or {}).items():
        if name not in OPTIONS:
            raise unknown_option("option of torch.compile", name, OPTIONS)
        if value not in OPTIONS[name]:
            raise unknown_option(f"value of the option {name}", value, OPTIONS[name])
    if settings.current().engine is not Engine.COMPILED:
        notice({"the whole model": "STRIATE_ENGINE is not compiled"})
        return module.forward
    if options:
        adopt(one for one in examples if isinstance(one, torch.nn.Parameter))
    return Plan(module, notice)
