"""``striate`` on the command line.

Exit codes: 0 success; 1 training, or striate itself, failed; 2 arguments, data or files that cannot be used;
130 Ctrl-C.
Results go to standard output, progress and errors to standard error.
"""

from __future__ import annotations

from typing import Annotated

import typer

from striate.cli.bench import bench
from striate.cli.doctor import doctor
from striate.cli.evaluate import evaluate
from striate.cli.experiment import experiment
from striate.cli.export import export
from striate.cli.filter import filter
from striate.cli.inspect import inspect
from striate.cli.lab import lab
from striate.cli.predict import predict
from striate.cli.report import Reporting
from striate.cli.show import show
from striate.cli.train import train
from striate.version import VERSION

app = typer.Typer(
    cls=Reporting,
    name="striate",
    help="Convolutional networks, compiled for this very CPU.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(train)
app.command()(evaluate)
app.command()(predict)
app.command()(filter)
app.command()(doctor)
app.command()(inspect)
app.command()(show)
app.command()(lab)
app.command()(export)
app.command()(bench)
app.command()(experiment)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"striate {VERSION}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Convolutional networks, compiled for this very CPU."""


def main() -> None:
    """The entry point."""
    app(prog_name="striate")
