"""Print tables, JSON and notes of the benchmarks, and read and write their result files."""

from __future__ import annotations

import json
import math
import os
import platform
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from striate.errors import StriateError


def print_json(content: object) -> None:
    """Print one JSON document to standard output, with NaN and infinity as null."""
    json.dump(_finite(content), sys.stdout, indent=2, allow_nan=False)
    print()


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table whose first column is text and whose other columns are numbers."""
    from rich import box  # imported here, so that the memory of processes that print nothing is measured without it
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, title=title, title_justify="left", box=box.SIMPLE)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        table.add_row(*row)
    # Piped into a file, a table must not be folded to 80 columns.
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def note(text: str) -> None:
    """Print a line of progress to standard error, so that the output of ``--json`` stays clean."""
    print(text, file=sys.stderr, flush=True)


class FileError(StriateError):
    """The error for a file that was given to a benchmark and cannot be read."""


def read_json(path: Path) -> Any:
    """Return the contents of a file written by ``--json``; raises ``FileError`` if it cannot be read."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise FileError(f"{path}: {error}\n  help: give a file that --json was written to") from error


def lines_of(path: Path | None) -> list[dict[str, Any]]:
    """Return the lines that ``add_line`` has written; [] if ``path`` is None or does not exist.

    Raises ``FileError`` for a line that is not a result.
    """
    if path is None or not path.exists():
        return []
    found: list[dict[str, Any]] = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            found.append(dict(json.loads(line)))
        except (TypeError, ValueError) as error:
            help = "delete the line, if a run was interrupted while it wrote it"
            raise FileError(f"{path}, line {number}: no result of this benchmark\n  help: {help}") from error
    return found


def add_line(path: Path | None, content: object) -> None:
    """Append a result to the file from which an interrupted benchmark continues, if a path is given."""
    if path is not None:
        with path.open("a") as file:
            file.write(json.dumps(content) + "\n")


def end_with(main: Callable[[], int | None]) -> NoReturn:
    """Exit with the result of ``main``, or with a message and status 2 for a ``StriateError``."""
    try:
        sys.exit(main())
    except StriateError as error:
        note(f"error: {error}")
        sys.exit(2)


def geometric_mean(numbers: Sequence[float]) -> float:
    """Return (∏ x)^(1/n), or NaN for no numbers."""
    return math.exp(sum(math.log(number) for number in numbers) / len(numbers)) if numbers else math.nan


def machine() -> dict[str, object]:
    """Return the processor, number of cores, system and Python version of this machine, for result files."""
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        fields = dict(
            (part.strip() for part in line.split(":", 1)) for line in cpuinfo.read_text().splitlines() if ":" in line
        )
        known = ("model name", "cpu family", "model", "stepping")
        model = ", ".join(f"{name} {fields[name]}" for name in known if name in fields) or model
    return {"cpu": model, "cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()}
