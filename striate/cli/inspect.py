"""``striate inspect``: write a web page about a trained network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from striate.cli.progress import Steps
from striate.errors import OptionError
from striate.report import inspect as inspected


def inspect(
    run: Annotated[Path, typer.Argument(help="Folder that `striate train` created, or a model file.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Path of the page.")] = Path("report.html"),
    image: Annotated[
        list[Path] | None,
        typer.Option(help="Picture to examine; repeatable.", show_default="held-out samples"),
    ] = None,
    data: Annotated[str | None, typer.Option(help="Data set.", show_default="the run's data set")] = None,
    speed: Annotated[bool, typer.Option(help="Measure the speed of training steps now.")] = True,
) -> None:
    """Write one page about a trained network: its drawing, equations, curves, filters, mistakes and speed."""
    if not out.absolute().parent.is_dir():
        raise OptionError(f"--out {out}: there is no folder {out.parent}\n  help: create it, or give another path")
    if out.is_dir():
        raise OptionError(
            f"--out {out}: this is a folder\n  help: give the path of the page, such as {out / 'report.html'}"
        )
    with Steps("inspect") as steps:
        report = inspected(run, images=image or [], data=data, speed=speed, say=steps.say)
        report.save(out)
    typer.echo(f"wrote {out} ({len(report.html.encode()) / 1e6:.1f} MB)")
