"""The backend of ``torch.compile``: returns functions that run the graphs captured by Dynamo, PyTorch's tracer."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import fx

from striate import settings
from striate.errors import OptionError
from striate.settings import Engine
from striate.torch.plan import Plan

OPTIONS: tuple[str, ...] = ()
"""The options that ``torch.compile(…, options=…)`` accepts."""


class StriateNotice(UserWarning):
    """The warning that PyTorch itself runs a part of a model, because striate cannot compile it."""


_noticed: set[str] = set()


def notice(missing: Mapping[str, str]) -> None:
    """Warn that PyTorch itself runs some functions; a warning with the same text is given only once.

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

    ``torch.compile(model, backend="striate")`` calls this function for each graph that it captures. ``examples`` and
    ``mode`` have no effect. Raises ``OptionError`` for unknown ``options``.
    """
    for name in options or {}:
        if name not in OPTIONS:
            raise OptionError(
                f"torch.compile: options={{{name!r}: …}}\n  help: known are {', '.join(OPTIONS) or 'none'}"
            )
    if settings.current().engine is not Engine.COMPILED:
        notice({"the whole model": "STRIATE_ENGINE is not compiled"})
        return module.forward
    return Plan(module, notice)
