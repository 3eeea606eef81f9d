"""The floors of the house, read from the syntax trees: what may import what.

    cli
    ────────────────────────────────────────
    report  experiments  lab  sklearn  torch
    ────────────────────────────────────────
    models  data  persistence  train  insight  doctor  plot  export  native
    ────────────────────────────────────────
    step  watch  profile
    ────────────────────────────────────────
    nn  optim
    ────────────────────────────────────────
    tracing
    ────────────────────────────────────────
    engine
    ────────────────────────────────────────
    compiler  show
    ────────────────────────────────────────
    passes
    ────────────────────────────────────────
    ops
    ────────────────────────────────────────
    graph
    ────────────────────────────────────────
    codegen  ∥  runtime
    ────────────────────────────────────────
    distributed
    ────────────────────────────────────────
    errors  settings  quota  dtypes  options  version  locks  starting  habits  arguments
    terminal  counting

Imports point down only; rooms with ∥ between them do not know each other. Modules of one floor may use each other, but
not in circles; what is imported for annotations alone (``if TYPE_CHECKING``) makes no circle.
"""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

from tests import syntax
from tests.syntax import PACKAGE

FLOORS: list[list[set[str]]] = [
    [
        {
            "errors",
            "settings",
            "quota",
            "dtypes",
            "options",
            "version",
            "locks",
            "starting",
            "habits",
            "arguments",
            "terminal",
            "counting",
        }
    ],
    [{"distributed"}],
    [{"codegen"}, {"runtime"}],
    [{"graph"}],
    [{"ops"}],
    [{"passes"}],
    [{"compiler", "show"}],
    [{"engine"}],
    [{"tracing"}],
    [{"nn", "optim"}],
    [{"step", "watch", "profile"}],
    [{"models", "data", "persistence", "train", "insight", "doctor", "plot", "export", "native"}],
    [{"report", "experiments", "lab", "sklearn", "tensorboard", "torch"}],
    [{"cli", "__main__"}],
]
PLACE = {
    room: (height, side) for height, floor in enumerate(FLOORS) for side, rooms in enumerate(floor) for room in rooms
}
CORE = {"numpy", "llvmlite", "PIL", "safetensors", "typer", "rich"}
EXTRAS = {
    "matplotlib", "torch", "onnx", "onnxruntime", "sklearn", "scipy", "starlette", "uvicorn", "mpi4py", "tensorboardX",
}  # fmt: skip
ROOMS_OF_EXTRAS = {
    "plot": "matplotlib", "lab": "starlette uvicorn", "export": "onnx onnxruntime", "sklearn": "sklearn",
    "torch": "torch", "tensorboard": "tensorboardX",
}  # fmt: skip
"""Rooms that nobody enters without the extra: there it is imported as everything else is."""


OPENED_LATER = {
    ("engine", "striate.compiler"): "the first graph that is prepared",
    ("ops", "f'{__name__}.{name}'"): "kernels, which the compiler opens",
    ("step", "striate.codegen.target"): "a step in bfloat16, which asks what the processor can do",
    ("step", "striate.profile"): "TrainingStep.profile",
    ("nn", "safetensors.numpy"): "the first pickle of a model",
    ("__init__", "f'striate.{name}'"): "names of the public face that not every script needs",
    ("__init__", "_LATER[name]"): "the same",
    ("errors", "f'striate.{room}'"): "rooms that need an extra",
    ("cli", "name"): "peers, where they are installed",
    ("cli", "striate.lab"): "the lab needs an extra",
    ("data", "striate.data.transfer"): "a download, which brings urllib",
    ("train", "striate.train.display"): "bars for a terminal, which bring rich",
    ("distributed", "mpi4py.MPI"): "MPI, which starts when it is imported",
    ("train", "striate.codegen.target"): "the processor, for the environment of a run",
    ("experiments", "matplotlib"): "figures need an extra",
    ("experiments", "matplotlib.figure"): "the same",
}
"""(room, module) opened by ``import_module`` when something first needs it, so that a start does not wait for it."""


class Import(NamedTuple):
    file: Path
    line: int
    module: str
    inside_function: bool
    for_annotations: bool

    def __str__(self) -> str:
        return f"{self.file.relative_to(PACKAGE)}:{self.line} imports {self.module}"


def _room(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imported_room(one: Import) -> str:
    return one.module.removeprefix("striate.").split(".")[0]


def _is_module(name: str) -> bool:
    path = PACKAGE.parent.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def _imports(file: Path) -> Iterator[Import]:
    """Return all imports of a file; ``from striate import ops`` counts as ``striate.ops``."""

    def visit(node: ast.AST, inside: bool, typing: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            yield from (Import(file, node.lineno, alias.name, inside, typing) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            assert node.level == 0, f"{file}:{node.lineno}: a relative import"
            for alias in node.names:
                name = f"{base}.{alias.name}"
                yield Import(file, node.lineno, name if _is_module(name) else base, inside, typing)
        inside = inside or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        typing = typing or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inside, typing)

    return visit(syntax.tree(file), False, False)


@functools.cache
def _all() -> list[Import]:
    """Return the imports of the package, read once, and not while tests are collected."""
    return [one for file in syntax.files() for one in _imports(file)]


def _internal() -> list[Import]:
    return [one for one in _all() if one.module.split(".")[0] == "striate"]


def _allowed(importer: str, imported: str) -> bool:
    if importer == "__init__" or importer == imported:
        return True  # the root re-exports; a room knows itself
    if imported == "striate":
        return PLACE[importer][0] == len(FLOORS) - 1  # the public face is for those who stand above everything
    (above, side), (below, other_side) = PLACE[importer], PLACE[imported]
    return above > below or (above == below and side == other_side)


def test_every_room_has_its_floor() -> None:
    assert {_room(file) for file in syntax.files()} - {"__init__"} <= set(PLACE)


def test_imports_point_down_only() -> None:
    wrong = [str(one) for one in _internal() if not _allowed(_room(one.file), _imported_room(one))]
    assert not wrong, "\n".join(wrong)


def test_modules_do_not_import_each_other_in_circles() -> None:
    graph: dict[str, set[str]] = {}
    for one in _internal():
        importer = ".".join(("striate", *one.file.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
        if one.module != importer and not one.for_annotations:
            graph.setdefault(importer, set()).add(one.module)
    TopologicalSorter(graph).prepare()  # raises CycleError, which lists the circle


def test_llvmlite_is_imported_in_codegen_alone() -> None:
    wrong = [str(one) for one in _all() if one.module.split(".")[0] == "llvmlite" and _room(one.file) != "codegen"]
    assert not wrong, "\n".join(wrong)


def test_only_extras_are_imported_inside_functions_and_nowhere_else() -> None:
    def outside(one: Import) -> bool:
        package = one.module.split(".")[0]
        return package not in EXTRAS or package in ROOMS_OF_EXTRAS.get(_room(one.file), "").split()

    wrong = [str(one) for one in _all() if one.inside_function == outside(one)]
    assert not wrong, "\n".join(wrong)


def _called(function: ast.expr) -> str:
    """Return the last name of a called function, such as "import_module"."""
    match function:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""


def test_modules_opened_later_are_declared() -> None:
    found: set[tuple[str, str]] = set()
    for file in syntax.files():
        room = _room(file)
        for node in syntax.nodes(file):
            if isinstance(node, ast.Call) and _called(node.func) == "import_module":
                place = node.args[0]
                found.add((room, place.value if isinstance(place, ast.Constant) else ast.unparse(place)))
    assert found == set(OPENED_LATER)
    for room, module in OPENED_LATER:
        name = module.removeprefix("striate.").split(".")[0]
        if module.startswith("striate.") and name in PLACE and room in PLACE:
            assert PLACE[room][0] >= PLACE[name][0], f"{room} opens {module}, which stands above it"


def test_nothing_beyond_the_declared_packages_is_imported() -> None:
    known = CORE | EXTRAS | {"striate"} | sys.stdlib_module_names
    wrong = [str(one) for one in _all() if one.module.split(".")[0] not in known]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("forbidden", ["pickle", "marshal", "shelve"])
def test_nothing_is_unpickled(forbidden: str) -> None:
    wrong = [str(one) for one in _all() if one.module.split(".")[0] == forbidden]
    assert not wrong, "\n".join(wrong)


def test_only_settings_reads_the_environment() -> None:
    wrong: list[str] = []
    for file in syntax.files():
        for node in syntax.nodes(file):
            named = (isinstance(node, ast.Attribute) and node.attr in ("environ", "environb", "getenv")) or (
                isinstance(node, ast.alias) and node.name in ("environ", "environb", "getenv")
            )
            if named and _room(file) != "settings":
                wrong.append(f"{file.relative_to(PACKAGE)}:{node.lineno} reads the environment")
    assert not wrong, "\n".join(wrong)
