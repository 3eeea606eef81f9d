"""docs/operations.md, which lists each operation and layer, is generated from the code and up to date.

``python tests/test_operations_page.py`` rewrites it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import striate.ops
from striate import nn, optim
from striate.nn.loss import Loss

PAGE = Path(__file__).parents[1] / "docs" / "operations.md"
HEAD = """# Operations, layers, losses and optimizers

This page is written by `python tests/test_operations_page.py` from the code.

## `st.ops`

Functions of arrays, and of traced values inside `st.compile`, `st.value_and_grad` and `forward` methods.
"""


def equation(thing: object) -> str:
    """Return the first line of the docstring, escaped for a table."""
    return (inspect.getdoc(thing) or "").partition("\n")[0].replace("|", "\\|").replace("``", "`")


def options(function: Callable[..., Any], skipped: Iterable[str] = ("self",)) -> str:
    """Return the parameters with their defaults, such as ``x, eps=1e-05``."""
    shown: list[str] = []
    for one in inspect.signature(function).parameters.values():
        if one.name in skipped or one.kind is inspect.Parameter.VAR_KEYWORD:
            continue
        star = "*" if one.kind is inspect.Parameter.VAR_POSITIONAL else ""
        default = "" if one.default is inspect.Parameter.empty else f"={plain(one.default)}"
        shown.append(f"{star}{one.name}{default}")
    return ", ".join(shown)


def plain(default: object) -> str:
    """Return a default as it is written in code, without the address of an object."""
    return re.sub(r"<.*?>", "…", f"{default:g}" if isinstance(default, float) else repr(default))


def lines() -> Iterator[str]:
    yield HEAD
    yield "| function | equation |\n|---|---|"
    for name in striate.ops.__all__:
        function = getattr(striate.ops, name)
        yield f"| `{name}({options(function)})` | {equation(function)} |"
    yield "\n## `st.nn`\n\n| layer | equation |\n|---|---|"
    layers = [getattr(nn, name) for name in nn.__all__ if inspect.isclass(getattr(nn, name))]
    for layer in layers:
        if not issubclass(layer, Loss):
            yield f"| `{layer.__name__}({options(layer)})` | {equation(layer)} |"
    yield "\n## Losses\n\n| loss | equation |\n|---|---|"
    for layer in layers:
        if issubclass(layer, Loss) and layer is not Loss:
            yield f"| `{layer.__name__}({options(layer)})` | {equation(layer)} |"
    yield "\n## `st.optim`\n\n| optimizer or schedule | what it does |\n|---|---|"
    for name in optim.__all__:
        thing = getattr(optim, name)
        if inspect.isclass(thing) and not inspect.isabstract(thing) and not getattr(thing, "_is_protocol", False):
            yield f"| `{name}({options(thing, ('self', 'schedule', 'groups'))})` | {equation(thing)} |"


def page() -> str:
    return "\n".join(lines()) + "\n"


def test_the_page_lists_what_exists() -> None:
    assert PAGE.read_text("utf-8") == page(), "python tests/test_operations_page.py writes it anew"


def test_every_line_has_an_equation() -> None:
    rows = [line for line in page().splitlines() if line.startswith("| `")]
    assert len(rows) > 200
    assert [row for row in rows if row.endswith("|  |")] == []


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
