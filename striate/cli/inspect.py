"""``striate inspect``: a trained network as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from striate.cli.progress import Steps
from striate.errors import OptionError
from striate.report import inspect as inspected


def inspect(
    run: Annotated[Path, typer.Argument(help="Folder that `striate train` made, or a model file.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The page.")] = Path("report.html"),
    image: Annotated[
        list[Path] | None,
        typer.Option(help="PNG or JPEG to look at; may be given several times.", show_default="held-out samples"),
    ] = None,
    data: Annotated[str | None, typer.Option(help="Data set.", show_default="that of the run")] = None,
    speed: Annotated[bool, typer.Option(help="Time training steps now.")] = True,
) -> None:
    """Write one page about a trained network: its drawing, equations, curves, filters, mistakes and speed."""
    if not out.absolute().parent.is_dir():
        raise OptionError(f"--out {out}: no folder {out.parent}\n  help: make it, or give another path")
    if out.is_dir():
        raise OptionError(f"--out {out}: a folder\n  help: give the path of the page, such as {out / 'report.html'}")
    with Steps("inspect") as steps:
        report = inspected(run, images=image or [], data=data, speed=speed, say=steps.say)
        report.save(out)
    typer.echo(f"wrote {out} ({len(report.html.encode()) / 1e6:.1f} MB)")
