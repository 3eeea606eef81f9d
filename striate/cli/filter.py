"""``striate filter``: apply filters to pictures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image
from rich.progress import track
from rich.table import Table

from striate.cli.report import output, progress_output, say_json, say_note
from striate.data.contact_sheet import Tile, contact_sheet, shown_pixels
from striate.data.filters import FILTERS, Edge, Weights, filter_weights, parameters_of, shows_differences
from striate.data.filters import filter as filtered
from striate.data.picture import encoded_picture, image_of, open_picture
from striate.errors import OptionError
from striate.persistence import write_atomically

_TILE = 224
_SMALLEST = 96
"""Size limits of a picture on the contact sheet, in pixels: larger pictures are reduced, smaller ones enlarged by an
integer factor."""
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")

_SHEET = (
    "identity", "box_blur size=5", "gaussian_blur sigma=3", "sharpen amount=1", "sobel_x", "sobel_y",
    "prewitt_x", "prewitt_y", "laplacian", "emboss",
    "gabor angle=0 wavelength=8", "gabor angle=45 wavelength=8", "gabor angle=90 wavelength=8",
    "gabor angle=135 wavelength=8", "gabor angle=0 wavelength=16", "gabor angle=90 wavelength=16",
)  # fmt: skip
"""The filters that ``--all`` shows: each named one, some of them with several parameter values."""


def filter(
    image: Annotated[
        Path | None, typer.Argument(help="Picture: PNG, JPEG, BMP, GIF, TIFF, WebP, PPM.", show_default=False)
    ] = None,
    name: Annotated[str | None, typer.Argument(help="Name of a filter (see --list).", show_default=False)] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="PNG or JPEG to write.", show_default="IMAGE-NAME.png here")
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", help="A parameter of the filter, such as sigma=2; repeatable.", show_default=False),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights", "-w", help="A filter of your own, row by row: '0 1 0; 1 -4 1; 0 1 0'.", show_default=False
        ),
    ] = None,
    mode: Annotated[str, typer.Option(help=f"Values beyond the edge: {', '.join(Edge.__members__)}.")] = "reflect",
    cval: Annotated[float, typer.Option(help="Value beyond the edge, with --mode constant.")] = 0.0,
    grey: Annotated[bool, typer.Option("--grey", help="Convert to grey first.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="All named filters on one labelled sheet.")] = False,
    listing: Annotated[bool, typer.Option("--list", help="List the named filters and their parameters.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done, or the list, as JSON.")] = False,
) -> None:
    """Slide a filter over a picture: blur it, find its edges, or apply weights of your own.

    Filters that show differences (their weights sum to 0) give signed numbers: 0 becomes middle grey, negative numbers
    are darker, positive ones brighter.
    """
    if listing:
        if image is not None or everything or parameter or weights is not None:
            raise OptionError("--list lists the filters and takes no picture\n  help: striate filter --list")
        list_filters(as_json)
        return
    if image is None or sum((name is not None, weights is not None, everything)) != 1:
        raise OptionError(
            "expected a picture and one filter\n"
            "  help: striate filter photo.jpg sobel_x -o edges.png\n"
            "        striate filter photo.jpg -w '0 1 0; 1 -4 1; 0 1 0' -o own.png\n"
            "        striate filter photo.jpg --all -o sheet.png\n"
            "        striate filter --list"
        )
    edge = Edge.parse(mode)
    if cval and edge is not Edge.constant:
        raise OptionError(f"--cval {cval:g} has no effect with --mode {mode}\n  help: --mode constant")
    if everything:
        if parameter:
            raise OptionError("--all uses parameters of its own\n  help: give the name of one filter")
        target = out or Path(f"{image.stem}-filters.png")
        _write(sheet_of(image, edge, cval, grey), target)
        done: dict[str, Any] = {"image": str(image), "out": str(target), "filters": list(_SHEET)}
    else:
        given = parsed_parameters(parameter or [])
        taps = filter_weights(parsed_weights(weights) if weights is not None else name or "", **given)
        target = out or Path(f"{image.stem}-{name or 'filtered'}.png")
        with progress_output().status("filtering"):
            numbers = filtered(open_picture(image, grey), taps, mode=edge, cval=cval)
        signed = shows_differences(taps)
        _write(image_of(shown_pixels(numbers, signed)), target)
        done = {
            "image": str(image), "out": str(target), "filter": name or weights, "weights": taps.tolist(),
            "signed": signed, "least": float(numbers.min()), "largest": float(numbers.max()),
        }  # fmt: skip
    if as_json:
        say_json(done)
    else:
        say_note(f"wrote {target}{'' if everything else described(done)}")


def described(done: dict[str, Any]) -> str:
    """Return the filter and the range of its result as text, such as ": sobel_x gave -812 … 790; 0 is middle grey".

    ``done`` is what ``--json`` prints: "filter" is the name of the filter, "least" and "largest" are the range, and
    "signed" says whether the filter shows differences.
    """
    grey = "; 0 is middle grey" if done["signed"] else ""
    return f": {done['filter']} gave {done['least']:.5g} … {done['largest']:.5g}{grey}"


def _write(picture: Image.Image, target: Path) -> None:
    write_atomically(target, encoded_picture(picture, target))


def sheet_of(path: Path, edge: Edge, cval: float, grey: bool) -> Image.Image:
    """Return the contact sheet of ``--all``: the picture in the file ``path`` after each of the named filters.

    ``edge`` says how the picture continues beyond its edge. ``cval`` is the value there for ``Edge.constant``. ``grey``
    converts the picture to grey first.
    """
    pixels = open_picture(path, grey, largest=_TILE)
    factor = max(1, _SMALLEST // max(pixels.shape[1:])) if max(pixels.shape[1:]) < _SMALLEST else 1
    tiles: list[Tile] = []
    console = progress_output()
    for entry in track(_SHEET, "filtering", console=console, transient=True, disable=not console.is_terminal):
        name, *given = entry.split()
        weights = filter_weights(name, **parsed_parameters(given))
        numbers = filtered(pixels, weights, mode=edge, cval=cval)
        picture = image_of(shown_pixels(numbers, shows_differences(weights)))
        picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
        tiles.append(Tile(picture, name, " ".join(given) or _size(weights), weights))
    return contact_sheet(path.name, tiles)


def _size(weights: Weights) -> str:
    return f"{weights.shape[0]} x {weights.shape[1]}"


def list_filters(as_json: bool) -> None:
    """Print name, description, and parameters with defaults of each filter."""
    rows = [(name, parameters_of(name), (make.__doc__ or "").splitlines()[0]) for name, make in FILTERS.items()]
    if as_json:
        say_json([{"name": name, "parameters": known, "does": does} for name, known, does in rows])
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("filter", "what it shows", "parameters"):
        table.add_column(heading, no_wrap=heading == "filter", max_width=22 if heading == "parameters" else None)
    for name, known, does in rows:
        shown = " ".join(f"{key}={'auto' if value is None else f'{value:g}'}" for key, value in known.items())
        table.add_row(name, does, shown)
    output().print(table)


def parsed_parameters(given: Sequence[str]) -> dict[str, float | int]:
    """Parse filter parameters, such as ["sigma=2.0"], to {"sigma": 2.0}; raises ``OptionError`` for other texts."""
    found: dict[str, float | int] = {}
    for text in given:
        key, sign, value = text.partition("=")
        if not sign or not _NUMBER.fullmatch(value.strip()):
            raise OptionError(f"--set {text!r}; expected NAME=NUMBER, such as sigma=2")
        if key.strip() in found:
            raise OptionError(f"--set {text!r}: {key.strip()} is given twice")
        number = float(value)
        found[key.strip()] = int(number) if re.fullmatch(r"[-+]?\d+", value.strip()) else number
    return found


def parsed_weights(text: str) -> Weights:
    """Parse a filter such as "0 1 0; 1 -4 1; 0 1 0" to an array (rows, columns).

    Raises ``OptionError`` for rows of different lengths, and for anything but numbers.
    """
    rows = [re.split(r"[\s,]+", row.strip()) for row in text.split(";") if row.strip()]
    for entry in (entry for row in rows for entry in row):
        if not _NUMBER.fullmatch(entry):
            raise OptionError(f"{entry!r} is not a number\n  help: write rows such as '0 1 0; 1 -4 1; 0 1 0'")
    if not rows:
        raise OptionError("--weights is empty\n  help: write rows such as '0 1 0; 1 -4 1; 0 1 0'")
    if len({len(row) for row in rows}) > 1:
        raise OptionError(f"{text!r}: every row of a filter has the same number of weights")
    return np.array([[float(entry) for entry in row] for row in rows])
