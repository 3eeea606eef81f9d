"""The help lines of errors name only things that exist, such as functions, layers, methods and options.

The lines are read from the syntax trees: the text after ``help:`` in a string, and the remedies passed to functions
that build errors. Computed parts of a text are skipped.
"""

from __future__ import annotations

import ast
import functools
import inspect
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import typer.main

import striate as st
from striate import data, nn, ops, optim
from striate.cli import app
from striate.data import Dataset, Standardizer
from striate.doctor import Doctor
from striate.graph.op import registry
from striate.train import History
from tests import syntax

PACKAGE = Path(st.__file__).parent
CHECKOUT = PACKAGE.parent
COMMANDS: dict[str, Any] = dict(vars(typer.main.get_command(app))["commands"])
OPTIONS = {
    name: {option for one in command.params for option in (*one.opts, *one.secondary_opts)} | {"--help"}
    for name, command in COMMANDS.items()
}
OBJECTS: dict[str, Any] = {
    "st": st, "nn": nn, "optim": optim, "data": data, "augment": data.augment,
    "np": np, "numpy": np, "model": nn.Module, "Dataset": Dataset,
    "Standardizer": Standardizer, "trainer": st.Trainer, "history": History, "doctor": Doctor, "step": st.TrainingStep,
    "x": np.ma.MaskedArray, "X": np.ndarray, "y": np.ndarray, "picture": np.ndarray, "key": str, "state": dict,
    "w": np.ndarray, "images": np.ndarray, "labels": np.ndarray,
}  # fmt: skip
"""What a name before a dot stands for in a message."""
FOREIGN = {"math", "safetensors", "torch", "loss", "photo", "edges", "own", "sheet", "cifar10", "model"}
"""Before a dot: other packages, PyTorch's loss, and files."""
ERRORS = {"shape_error", "dtype_error", "layer_error"}
"""Functions whose last argument is a cure."""
CURES = {"cure", "help", "cures"}
PARTS = "\N{HORIZONTAL ELLIPSIS}"
"""Stands for what is computed."""


class Help(NamedTuple):
    where: str
    text: str


def _text(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) or PARTS for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _text(node.left), _text(node.right)
        return None if left is None and right is None else (left or PARTS) + (right or PARTS)
    return None


def _texts(node: ast.AST) -> Iterator[str]:
    """Return the outermost string expressions below a node."""
    text = _text(node)
    if text is not None:
        yield text
        return
    for child in ast.iter_child_nodes(node):
        yield from _texts(child)


def _helps(file: Path) -> Iterator[Help]:
    for node in syntax.nodes(file):
        where = f"{file.relative_to(PACKAGE)}:{getattr(node, 'lineno', 0)}"
        match node:
            case ast.Call(func=ast.Name(id=name), args=[*_, last]) if name in ERRORS:
                yield from (Help(where, text) for text in _texts(last))
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name in CURES:
                yield from (Help(where, text) for text in _texts(value))
            case ast.keyword(arg=name, value=value) if name in CURES and "cli" not in file.parts:
                yield from (Help(where, text) for text in _texts(value))
            case ast.Constant() | ast.JoinedStr() | ast.BinOp():
                text = _text(node) or ""
                if "help:" in text and not text.lstrip().startswith("The "):
                    yield Help(where, text.partition("help:")[2].strip())
            case _:
                pass


@functools.cache
def _all_helps() -> list[Help]:
    """Return the help lines of the package, read once, and not while tests are collected."""
    return sorted({one for file in syntax.files() for one in _helps(file)})


def _parameters() -> set[str]:
    """Return the parameter names of all public functions and classes."""
    public = [getattr(room, name) for room in (st, ops, nn, optim, data, data.augment) for name in room.__all__]
    public += [st.Trainer.fit, nn.Module.infer, Standardizer.fit]
    found = {"return_inverse"}  # of np.unique
    for one in public:
        if callable(one):
            try:
                found |= set(inspect.signature(one).parameters)
            except (TypeError, ValueError):
                continue
    for file in (PACKAGE / "sklearn").glob("*.py"):  # read, not imported, since scikit-learn is an extra
        found |= {one.arg for one in syntax.nodes(file) if isinstance(one, ast.arg)}
    return found


PARAMETERS = _parameters()
SETTINGS = set(re.findall(r"STRIATE_[A-Z]+", (PACKAGE / "settings.py").read_text(encoding="utf-8")))
EXTRAS = set(
    tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
)
LAYERS = {*vars(nn), *vars(optim), *vars(data), *vars(data.augment), *vars(st), *registry()}


def _problems(text: str) -> Iterator[str]:
    """Return the names in a help line that do not exist."""
    text = re.sub(rf"\S*{PARTS}\S*(?=\s|$)", lambda found: found[0].partition(PARTS)[0].rpartition(" ")[0], text)
    for command, rest in re.findall(r"striate ([a-z]+)\b([^`\n]*)", text):
        if command in COMMANDS:
            yield from (
                f"striate {command} {option}"
                for option in re.findall(r"(?<!\S)--[a-z-]+", rest)
                if option not in OPTIONS[command]
            )
        elif text.count("`"):
            yield f"striate {command}"
    for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", text):
        if not any(option in known for known in OPTIONS.values()):
            yield option
    yield from (name for name in re.findall(r"STRIATE_[A-Z]+", text) if name not in SETTINGS)
    yield from (f"striate[{extra}]" for extra in re.findall(r"striate\[(\w+)\]", text) if extra not in EXTRAS)
    for path in re.findall(r"(?<![\w.\]])[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+", text):
        first, *rest = path.split(".")
        if (first in FOREIGN and first not in OBJECTS) or path.endswith((".safetensors", ".zip", ".png", ".jpg")):
            continue
        found = OBJECTS.get(first)
        if found is None:
            yield path
            continue
        for name in rest:
            hidden = found in (st, st.ops, nn, optim, data) and name not in found.__all__
            if hidden or not hasattr(found, name):
                yield path
                break
            found = inspect.getattr_static(found, name) if inspect.isclass(found) else getattr(found, name)
    for name in re.findall(r"(?<![\w.])([A-Z]\w*[a-z]\w*)\(|\b((?:Conv|BatchNorm|MaxPool|AvgPool)\d?d?)\b", text):
        yield from (one for one in name if one and one not in LAYERS)
    for name in re.findall(r"(?<![\w\"'(\[=])([a-z][a-z_]*)=(?!=)", text):
        if name not in PARAMETERS:
            yield f"{name}="


def test_there_are_help_lines() -> None:
    assert len(_all_helps()) > 100


def test_what_a_help_line_names_exists() -> None:
    wrong = [
        f"{one.where} names {', '.join(names)}: {one.text}" for one in _all_helps() if (names := [*_problems(one.text)])
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "text",
    [
        "call model.eval()", "use nn.Conv2D", "st.ops.convolution(x, w)", "set STRIATE_DATAS", "give --colour",
        "`striate trains`", "`striate train --data`", "pip install 'striate[plots]'", "padings=1", "Conv2D(3, 4)",
    ],
)  # fmt: skip
def test_names_that_do_not_exist_are_found(text: str) -> None:
    assert list(_problems(text))
