"""The syntax trees of the package, for tests that read its source: each file is read and parsed once per process."""

from __future__ import annotations

import ast
import functools
from collections.abc import Sequence
from pathlib import Path

import striate

PACKAGE = Path(striate.__file__).parent


@functools.cache
def files() -> Sequence[Path]:
    """Return the Python files of the package, in order."""
    return sorted(PACKAGE.rglob("*.py"))


@functools.cache
def tree(file: Path) -> ast.Module:
    """Return the syntax tree of a file."""
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


@functools.cache
def nodes(file: Path) -> Sequence[ast.AST]:
    """Return all nodes of a file's syntax tree, in the order of ``ast.walk``."""
    return list(ast.walk(tree(file)))
