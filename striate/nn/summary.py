"""The table of layers that ``Module.summary`` prints."""

from __future__ import annotations

import html
import math
import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from striate.graph.value import DType, N, TensorType, shape_text
from striate.terminal import columns
from striate.tracing import Trace

if TYPE_CHECKING:
    from striate.nn.module import Module

_LONGEST = 48  # the most columns for a layer's description
_SHORTEST = 14  # the fewest columns for a description or a path on a narrow terminal


@dataclass(frozen=True)
class Summary:
    """The table of layers that ``Module.summary`` prints, as ``rows`` of text.

    ``problem`` is the message of the error with which the model's ``forward`` failed, or "".
    """

    rows: list[tuple[str, ...]]
    problem: str

    @classmethod
    def of(cls, model: Module, shape: tuple[int, ...] | None) -> Summary:
        """Return the table of the layers of a model, after tracing it without data.

        ``shape`` is the shape of one sample, without N; by default, it is the shape in ``model.input_types``. An error,
        such as a ``ShapeError``, is not raised; its message is kept as ``problem``.
        """
        problem = ""
        types = model.input_types
        trace = Trace()
        try:
            if shape is not None:
                types = None
                sizes = tuple(operator.index(size) for size in shape)
                types = (TensorType(model.dtype or DType.float32, (N, *sizes)),)
            with trace:
                if types is not None:
                    model.trace(tuple(trace.input(f"x{i}" if i else "x", type) for i, type in enumerate(types)))
        except Exception as error:  # noqa: BLE001 - a summary must not raise, whatever a user's forward does
            problem = f"\n{type(error).__name__} {error}"
        rows = summary_rows(model, trace, types)
        for restore in reversed(trace.undo):
            restore()
        return cls(rows, problem)

    def text(self) -> str:
        """Return the table as text, fitted to the width of the terminal."""
        return summary_table(self.rows, columns()) + self.problem

    def html(self) -> str:
        """Return the table as HTML for notebooks."""
        return summary_html(self.rows, self.problem)


def summary_rows(model: Module, trace: Trace, types: tuple[TensorType, ...] | None) -> list[tuple[str, ...]]:
    """Return the rows of the table: path, layer, output shape, parameters, multiply-adds for one sample.

    The first row is the header, and the last row the total. The layers between are in order of execution; layers that
    were not called come at the end. ``trace`` is the record of one call of ``model``, and ``types`` are the dtypes and
    shapes of its inputs, or None if they are unknown.
    """
    rows = [("path", "layer", "output", "parameters", "multiply-adds")]
    passed = {id(step.layer): step for step in trace.calls}
    if types:
        rows.append(("input", "", ", ".join(str(type) for type in types), "", ""))
    total_parameters = total_work = 0
    open_sizes = False
    order = {id(step.layer): place for place, step in reversed(list(enumerate(trace.calls)))}
    # In order of execution: a standardizer runs first but may be assigned last. Layers that did not run come last.
    for path, module in sorted(model.named_modules(), key=lambda one: order.get(id(one[1]), len(trace.calls))):
        own = [parameter for parameter in module.own_state().values() if parameter.learned]
        if any(True for _ in module.children()) and not own:
            continue
        count = sum(math.prod(size or 0 for size in parameter.shape) for parameter in own)
        unknown = any(not parameter.known for parameter in own)
        step = passed.get(id(module))
        work = sum(s.layer.multiply_adds(s.inputs, s.output) for s in trace.calls if s.layer is module)
        total_parameters, total_work, open_sizes = total_parameters + count, total_work + work, open_sizes or unknown
        shown = shape_text(step.output.shape) if step else "?"
        rows.append((path, repr(module), shown, "?" if unknown else f"{count:,}", f"{work:,}" if step else "?"))
    least = "≥ " if open_sizes else ""  # of the sizes that are known; the others are inferred at the first call
    rows.append(("total", "", "", f"{least}{total_parameters:,}", f"{total_work:,}" if trace.calls else "?"))
    return rows


def summary_html(rows: list[tuple[str, ...]], problem: str = "") -> str:
    """Return the rows of ``summary_rows`` as an HTML table, followed by the error ``problem`` unless it is ""."""
    left, right = "text-align:left;white-space:nowrap;padding:1px 8px", "text-align:right;padding:1px 8px"
    rule = ";border-top:1px solid currentColor;border-bottom:1px solid currentColor;font-weight:bold"
    lines: list[str] = []
    for number, row in enumerate(rows):
        style = rule if number in (0, len(rows) - 1) else ""
        cells = "".join(
            f'<td style="{right if column > 2 else left}{style}">{html.escape(text)}</td>'
            for column, text in enumerate(row)
        )
        lines.append(f"<tr>{cells}</tr>")
    table = f'<table style="border-collapse:collapse">{"".join(lines)}</table>'
    return table + (f"<pre>{html.escape(problem.strip())}</pre>" if problem else "")


def summary_table(rows: list[tuple[str, ...]], width: int | None = None) -> str:
    """Return the rows of ``summary_rows`` as text, with aligned columns and lines after the header and above the total.

    ``width`` is the largest number of characters in a line, or None for no limit. If lines are longer, descriptions of
    layers are shortened first, then paths.
    """
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    widths[1] = min(widths[1], _LONGEST)
    for column in (1, 0):
        too_many = sum(widths) + 8 - (width or math.inf)
        widths[column] = max(min(widths[column], _SHORTEST), int(widths[column] - max(0, too_many)))
    rows = [(shortened_path(row[0], widths[0]), shortened(row[1], widths[1]), *row[2:]) for row in rows]
    lines = [
        "  ".join(
            text.rjust(width) if column > 2 else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]
    rule = "─" * (sum(widths) + 8)
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def shortened_path(path: str, most: int) -> str:
    """Return the path, or an ellipsis and its end if the path exceeds ``most`` characters."""
    return path if len(path) <= most else f"…{path[len(path) - most + 1 :]}"


def shortened(text: str, most: int) -> str:
    """Return the text, or its beginning and an ellipsis if the text exceeds ``most`` characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
