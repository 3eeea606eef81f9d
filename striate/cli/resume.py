"""``striate train --resume RUN``, which uses the options of the run as defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import typer

from striate.cli.option import given_on_command_line
from striate.cli.report import say_note
from striate.counting import counted
from striate.errors import OptionError
from striate.train.run import Run, read_run

_FIXED = (
    "model", "activation", "norm", "negative_slope", "init", "depth", "width", "freeze", "standardize", "seed", "size",
    "resize", "channels", "held_out", "on_error", "task", "kind", "label_column", "group_column", "ignore_columns",
    "window", "stride", "length", "channels_last",
)  # fmt: skip
"""Options that define the network and the data; a resumed training cannot change them."""
_ELSEWHERE = ("out", "overwrite", "find_lr", "weights")


def resumed_run(context: typer.Context, value: Path | None) -> Path | None:
    """Use a run's options as defaults of the command, before the options of the command line are evaluated.

    This is the callback of ``--resume``, which typer calls first. ``value`` is the run folder, or None if the option
    was not given; it is returned unchanged. Raises ``ModelFileError`` for a folder without a run.
    """
    if value is not None and not context.resilient_parsing:
        context.default_map = {**(context.default_map or {}), **defaults_of(read_run(value))}
    return value


def defaults_of(run: Run) -> dict[str, Any]:
    """Return the options of ``striate train`` that a run was started with, by parameter name."""
    data = {name: _option(name, value) for name, value in run.data_options.items()}
    arguments = {name: value for name, value in run.arguments.items() if name != "threads"}
    return {**data, **arguments, "data": run.data, "seed": run.seed}


def _option(name: str, value: Any) -> Any:
    """Return an option of the data as the command line takes it: lists as text, an empty one as None."""
    if not isinstance(value, list):
        return value
    parts = [str(part) for part in cast("list[object]", value)]
    return ("x" if name == "size" else ",").join(parts) or None


def require_resumable(context: typer.Context, run: Run) -> None:
    """Raise ``OptionError`` for options of the command line that a resumed training cannot take."""
    given = {name: value for name, value in context.params.items() if given_on_command_line(context, name)}
    for name in _ELSEWHERE:
        if name in given:
            raise OptionError(
                f"--{name.replace('_', '-')} does not go with --resume, which continues a run in its own folder"
            )
    before = defaults_of(run)
    for name in _FIXED:
        if name in given and given[name] != before.get(name):
            raise OptionError(
                f"--{name.replace('_', '-')} cannot change in a resumed training: {before.get(name)} then, "
                f"{given[name]} now\n  help: leave it out, or start a new training"
            )


def is_finished(run: Run, epochs: int | None) -> bool:
    """Return whether a resumed run has nothing left to do; print a note if so.

    A run has nothing left to do if its model was evaluated after the last epoch, or after an early stop. ``epochs`` is
    the number of epochs on the command line; None means the number with which the run was started.
    """
    planned, done = int(run.arguments.get("epochs", 0)), len(run.history.get("epochs", ()))
    most = max(planned, done)  # more are done than planned if a resumed training asked for fewer
    if not run.finished or run.evaluation is None or (epochs is not None and epochs > most):
        return False
    stopped = run.history.get("stopped")
    are = "is" if done == 1 else "are"
    why = f"stopped after {done} of {planned} epochs: {stopped}" if stopped else f"{counted(done, 'epoch')} {are} done"
    say_note(f"the run is finished already: {why}\n  help: --epochs {most + 5} goes on to {most + 5} epochs")
    return True
