"""The command line ``striate``.

Exit codes: 0 success; 1 the training, or striate itself, failed; 2 arguments, data or files that cannot be used; 130
Ctrl-C; 143 SIGTERM.

Results go to standard output, progress and errors to standard error.
"""

from __future__ import annotations

from typing import Annotated

import typer

from striate.cli.bench import bench
from striate.cli.compare import compare
from striate.cli.data import data
from striate.cli.doctor import doctor
from striate.cli.evaluate import evaluate
from striate.cli.experiment import experiment
from striate.cli.export import export
from striate.cli.filter import filter
from striate.cli.init import init
from striate.cli.inspect import inspect
from striate.cli.lab import lab
from striate.cli.launch import launch
from striate.cli.predict import predict
from striate.cli.ranks import RankedCommand, RankedGroupedCommand
from striate.cli.report import Command, Commands
from striate.cli.runs import runs
from striate.cli.show import show
from striate.cli.streams import prepare_streams, written
from striate.cli.train import train
from striate.starting import started
from striate.version import VERSION

app = typer.Typer(
    cls=Commands,
    name="striate",
    help="Convolutional networks, compiled for this very CPU.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(cls=RankedGroupedCommand)(train)
app.command(cls=Command, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})(launch)
app.command(cls=Command)(init)
app.command(cls=RankedCommand)(evaluate)
app.command(cls=RankedCommand)(predict)
app.command(cls=Command)(runs)
app.command(cls=Command)(compare)
app.command(cls=Command)(data)
app.command(cls=Command)(filter)
app.command(cls=Command)(doctor)
app.command(cls=Command)(inspect)
app.command(cls=Command)(show)
app.command(cls=Command)(lab)
app.command(cls=Command)(export)
app.command(cls=Command)(bench)
app.command(cls=Command)(experiment)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"striate {VERSION}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Declare the options that stand before the name of a command, such as ``striate --version``."""


def main() -> None:
    """Run the command line; this is the entry point of the script ``striate``."""
    started()
    prepare_streams()
    written(lambda: app(prog_name="striate"))
