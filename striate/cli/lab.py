"""``striate lab``: serve a local web page that follows trainings and shows what networks compute."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from striate.errors import MissingExtraError, OptionError

_EXTRA = ("starlette", "uvicorn", "websockets")


def lab(
    run: Annotated[
        Path | None, typer.Argument(help="Folder of a run to follow, which may be running or finished.")
    ] = None,
    folder: Annotated[Path, typer.Option(help="Folder for trainings that the lab starts.")] = Path("runs/lab"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1.", show_default="a free one")] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
) -> None:
    """Watch trainings live, draw digits and see every layer, start and compare trainings, in a local web page."""
    if run is not None and not run.is_dir():
        raise OptionError(
            f"{run}: there is no such folder\n"
            "  help: give the folder that `striate train --out RUN` creates when it starts, or none to start trainings"
        )
    try:
        room = import_module("striate.lab")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        raise MissingExtraError("the lab needs starlette and uvicorn\n  help: pip install 'striate[lab]'") from error
    room.serve(folder, run, port=port, browser=browser, say=typer.echo)
