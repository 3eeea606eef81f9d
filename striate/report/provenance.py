"""The report's section on how the model was made, and how to make it again."""

from __future__ import annotations

import shlex

import numpy as np
import numpy.typing as npt

from striate.report.html import Markup, element, joined
from striate.report.material import Material
from striate.report.page import Section, table


def section(material: Material) -> Section:
    """Build the report's section on how the model was made: arguments, data and versions of the run."""
    rows: list[tuple[str, object]] = []
    run = material.run
    if run is not None:
        rows += [
            ("data", run.data),
            ("seed", run.seed),
            ("finished", "yes" if run.finished else "not yet, or interrupted"),
        ]
        rows += [(str(name).replace("_", " "), _value(value)) for name, value in run.arguments.items()]
        rows += [(str(name), value) for name, value in run.versions.items()]
    rows.append(("input", " × ".join(map(str, material.model.input_shape))))
    if material.model.standardizer is not None:
        fit = material.model.standardizer
        rows.append(("standardizer", f"x̂ = (x − μ) / σ with {_few('μ', fit.mean)}, {_few('σ', fit.sigma)}"))
    rows.append(("classes", ", ".join(material.classes[:40]) + (" …" if len(material.classes) > 40 else "")))
    again = (
        joined(element("p", "Train it again: ", element("code", _words(command(material))), class_="note"))
        if run
        else None
    )
    return Section(
        "provenance",
        "How it was made",
        "With the same arguments, seed, versions and kind of processor, training reproduces the same bits. Bad signs: "
        "a run that was not finished, or data that have changed since.",
        element("div", table(("what", "value"), rows, 2), again),
    )


def command(material: Material) -> str:
    """Return the command line that repeats the run, such as ``striate train digits --seed 0 --epochs 20``.

    Arguments that are None or lists are left out. The result is "" without a run.
    """
    run = material.run
    if run is None:
        return ""
    words = ["striate", "train", run.data, "--seed", str(run.seed)]
    for name, value in run.arguments.items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            words.append(option if value else f"--no-{option[2:]}")
        elif isinstance(value, str | int | float):
            words += [option, str(value)]
    return shlex.join(words)


def _words(line: str) -> list[Markup | str]:
    """Return the command line in parts, so that it breaks only between words unless a word is very long."""
    words = [element("span", word, class_="word") if len(word) < 32 else word for word in line.split(" ")]
    return [part for word in words for part in (word, " ")][:-1]


def _value(value: object) -> Markup | str:
    """Return the value of an argument as text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _few(name: str, numbers: npt.NDArray[np.floating]) -> str:
    """Return the first few numbers as text."""
    shown = ", ".join(f"{float(one):.4g}" for one in numbers[:4])
    return f"{name} = {shown}{' …' if len(numbers) > 4 else ''}"
