"""A watch's record as a table: plain text of 80 columns, and HTML for notebooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, cast

WIDTH = 80
_NAME = 24  # columns that a path may take
_LISTED = 8  # silent units that the notebook names


def _columns(layer: Mapping[str, Any]) -> list[str]:
    """Return the cells of one layer's line."""
    units, silent = int(layer["units"]), int(layer["silent_count"])
    return [
        _number(layer["mean"]), _number(layer["std"]), _share(layer["zeros"]), _share(layer["saturated"]),
        f"{silent:,}/{units:,}" if units else "–",
        _number(layer["gradient_norm"]), _number(layer["gradient_ratio"]), _number(layer["update_ratio"]),
    ]  # fmt: skip


_HEADERS = ["mean", "std", "zero", "sat", "silent", "∂θ", "of last", "Δθ/θ"]
_MEANINGS = [
    "mean of the layer's output in the last batch", "its standard deviation", "share of it that is 0",
    "share that is saturated, as on the flat ends of a sigmoid or tanh", "units that never fired in this pass",
    "norm of the gradient of the layer's parameters", "its ratio to that of the last layer",
    "norm of the last update over that of the parameters",
]  # fmt: skip


def _number(number: float | None) -> str:
    if number is None:
        return "–"
    size = abs(number)
    return f"{number:.2f}" if 0.01 <= size < 1000 or number == 0 else f"{number:.0e}"


def _share(share: float | None) -> str:
    if share is None:
        return "–"
    return f"{100 * share:.0f} %" if share == 0 or share >= 0.01 else "<1 %"


def _shortened(path: str) -> str:
    """Return the path, cut at the front if it is too long for its column."""
    path = path or "(model)"
    return path if len(path) <= _NAME else "…" + path[1 - _NAME :]


def _title(record: Mapping[str, Any]) -> str:
    return f"after step {record['step']:,}; silent: units that never fired in {record['samples']:,} samples"


def _rows(record: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return list(cast("Mapping[str, Mapping[str, Any]]", record["layers"]).items())


def text_table(record: Mapping[str, Any]) -> str:
    """Return a table of ``record``, a result of ``Watch.record``: text of at most 80 columns, one line per layer."""
    rows = [["layer", *_HEADERS], *([_shortened(path), *_columns(layer)] for path, layer in _rows(record))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    gap = 2 if sum(widths) + 2 * (len(widths) - 1) <= WIDTH else 1

    def line(row: Sequence[str]) -> str:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        return (" " * gap).join(cells).rstrip()

    rule = "─" * (sum(widths) + gap * (len(widths) - 1))
    return "\n".join([_title(record), line(rows[0]), rule, *(line(row) for row in rows[1:])])


def html_table(record: Mapping[str, Any]) -> str:
    """Return a table of ``record``, a result of ``Watch.record``, as HTML; tooltips list the silent units."""
    heads = "".join(
        f'<th style="text-align:right" title="{escape(meaning)}">{escape(name)}</th>'
        for name, meaning in zip(_HEADERS, _MEANINGS, strict=True)
    )
    lines: list[str] = []
    for path, layer in _rows(record):
        silent = [str(unit) for unit in layer["silent"][:_LISTED]]
        more = "…" if layer["silent_count"] > len(silent) else ""
        hint = f' title="units {escape(", ".join(silent))}{more}"' if silent else ""
        cells = "".join(
            f'<td style="text-align:right"{hint if name == "silent" else ""}>{escape(cell)}</td>'
            for name, cell in zip(_HEADERS, _columns(layer), strict=True)
        )
        lines.append(f'<tr><th style="text-align:left">{escape(path or "(model)")}</th>{cells}</tr>')
    return (
        f'<table><caption style="text-align:left">{escape(_title(record))}</caption>'
        f'<thead><tr><th style="text-align:left">layer</th>{heads}</tr></thead><tbody>{"".join(lines)}</tbody></table>'
    )
