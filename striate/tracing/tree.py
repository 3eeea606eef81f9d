"""Trees: nested tuples, lists and dicts of arrays or traced values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from striate.graph.value import Value

Tree = Any
"""Tuples, lists and dicts, nested in any way, around leaves of any type."""
Leaf = tuple[str, Any]


def flatten_tree(tree: Tree, name: str) -> list[Leaf]:
    """Return the leaves of a tree in order, as pairs (name, leaf).

    The names begin with ``name`` and are dotted: ``x`` for a single leaf, else ``x.0``, ``x.weight`` …
    """
    if isinstance(tree, dict):
        items = [(str(key), value) for key, value in cast("dict[object, Any]", tree).items()]
    elif isinstance(tree, (tuple, list)):
        items = [(str(index), value) for index, value in enumerate(cast("Sequence[Any]", tree))]
    else:
        return [(name, tree)]
    return [leaf for key, value in items for leaf in flatten_tree(value, f"{name}.{key}" if name else key)]


def rebuild_tree(tree: Tree, leaves: list[Any]) -> Tree:
    """Return tuples, lists and dicts nested as in ``tree``, with the elements of ``leaves``, in order, as leaves.

    The elements are removed from the front of ``leaves``; if there are too many, the rest stays in the list.
    """
    if isinstance(tree, dict):
        return {key: rebuild_tree(value, leaves) for key, value in cast("dict[object, Any]", tree).items()}
    if isinstance(tree, list):
        return [rebuild_tree(value, leaves) for value in cast("list[Any]", tree)]
    if isinstance(tree, tuple):
        items = tuple(rebuild_tree(value, leaves) for value in cast("tuple[Any, ...]", tree))
        make = getattr(cast("Any", tree), "_make", None)  # of a named tuple
        return items if make is None else make(items)
    return leaves.pop(0)


def tree_structure(tree: Tree) -> object:
    """Return a hashable description of how tuples, lists and dicts are nested in ``tree``."""
    if isinstance(tree, dict):
        return ("dict", *((key, tree_structure(value)) for key, value in cast("dict[object, Any]", tree).items()))
    if isinstance(tree, (tuple, list)):
        items = cast("Sequence[Any]", tree)
        return (type(items).__name__, *(tree_structure(value) for value in items))
    return "leaf"


def contains_value(tree: Tree) -> bool:
    """Return whether a symbolic value of a graph is among the leaves of a tree."""
    return any(isinstance(leaf, Value) for _, leaf in flatten_tree(tree, ""))


def output_values(tree: Tree) -> dict[str, Value]:
    """Return the symbolic values among the leaves of ``tree``, the result of a traced function, by dotted name.

    The names are ``out`` for a single leaf, else ``out.0``, ``out.loss`` …
    """
    return {name: leaf for name, leaf in flatten_tree(tree, "out") if isinstance(leaf, Value)}


def nested_tree(leaves: Mapping[str, Any]) -> dict[str, Tree]:
    """Turn leaves by dotted names into nested dicts: ``{"out.loss": x}`` → ``{"out": {"loss": x}}``.

    A dict whose keys are 0, 1, 2 … becomes a tuple.
    """
    groups: dict[str, dict[str, Any]] = {}
    found: dict[str, Tree] = {}
    for name, leaf in leaves.items():
        first, dot, rest = name.partition(".")
        if dot:
            groups.setdefault(first, {})[rest] = leaf
            found[first] = None  # keeps the order
        else:
            found[first] = leaf
    for first, group in groups.items():
        inner = nested_tree(group)
        numbered = list(inner) == [str(number) for number in range(len(inner))]
        found[first] = tuple(inner.values()) if numbered else inner
    return found
