"""Finds the nodes of an FX graph, the form in which PyTorch captures a program, that share memory or overwrite it."""

from __future__ import annotations

from inspect import signature
from typing import Any

import torch
from torch import fx
from torch.nn import functional

from striate.torch.table import STATEFUL, TRANSLATIONS, Translation

_IN_PLACE_OPERATORS = {
    "iadd",
    "isub",
    "imul",
    "itruediv",
    "imatmul",
    "ipow",
    "iand",
    "ior",
    "ixor",
    "ifloordiv",
    "imod",
    "setitem",
}
_UNNAMED = {
    getattr(functional, f"{name}{rank}d"): f"{name}{rank}d"
    for name in ("max_pool", "adaptive_max_pool", "fractional_max_pool")
    for rank in (1, 2, 3)
    if hasattr(functional, f"{name}{rank}d")
}
"""Functions whose own name does not say what they are."""


def name_of(node: fx.Node) -> str:
    """Return the name of the function or method that a node calls, such as ``conv2d``."""
    if isinstance(node.target, str):
        return node.target
    return _UNNAMED.get(node.target) or str(getattr(node.target, "__name__", node.target))


def translation_of(node: fx.Node) -> tuple[str, Translation | None]:
    """Return the name of the function or method that a node calls, and its translation to striate.

    The pair is an entry of ``TRANSLATIONS`` or ``STATEFUL``; the translation is None if there is no entry. A method
    that writes in place has the name and the translation of the function without ``_``: for ``relu_``, the result is
    ("relu", …).
    """
    name = name_of(node)
    for known in (name, name.removesuffix("_")):
        found = TRANSLATIONS.get(known) or STATEFUL.get(known)
        if found is not None:
            return known, found
    return name, None


def writes_operand(node: fx.Node) -> bool:
    """Return whether a node overwrites its first operand, as ``x.relu_()``, ``x += 1`` and ``inplace=True`` do."""
    name, translation = translation_of(node)
    if name in _IN_PLACE_OPERATORS or (name_of(node).endswith("_") and name_of(node) != name):
        return True
    if name_of(node).endswith("_") and name_of(node) not in TRANSLATIONS:
        return True
    if node.kwargs.get("inplace"):
        return True
    if translation is None or "inplace" not in signature(translation).parameters:
        return False
    place = list(signature(translation).parameters).index("inplace") - (name in STATEFUL)
    return len(node.args) > place and bool(node.args[place])


def overwritten(node: fx.Node) -> list[fx.Node]:
    """Return the nodes whose tensors ``node`` overwrites.

    They are its first operand if ``node`` is an operation such as ``x += 1``, and its argument ``out``, if any.
    """
    places = [node.args[0]] if node.args and writes_operand(node) else []
    return [place for place in (*places, node.kwargs.get("out")) if isinstance(place, fx.Node)]


def example(node: fx.Node) -> Any:
    """Return the result that a node had while the graph was captured, or None if it is not known.

    It is a tensor without data, a number, or a sequence of these.
    """
    return node.meta.get("example_value")


def memory(node: fx.Node) -> int | None:
    """Return a number that identifies the memory of a node's tensor; None if the node's result is not a tensor."""
    tensor = example(node)
    return tensor.untyped_storage()._cdata if isinstance(tensor, torch.Tensor) else None


def _geometry(node: fx.Node) -> object:
    tensor = example(node)
    return tensor.shape, tensor.stride(), tensor.storage_offset()


class Aliases:
    """Finds the nodes of a graph whose tensors share memory; ``nodes`` are all nodes of the graph in order."""

    def __init__(self, nodes: list[fx.Node]) -> None:
        self._order = {node: place for place, node in enumerate(nodes)}
        self._sharing: dict[int, list[fx.Node]] = {}
        for node in nodes:
            place = memory(node)
            if place is not None:
                self._sharing.setdefault(place, []).append(node)

    def sharing(self, node: fx.Node) -> list[fx.Node]:
        """Return all nodes, in order, whose tensors share memory with that of ``node``, including ``node`` itself.

        The list is empty if the result of ``node`` is not a tensor.
        """
        place = memory(node)
        return [] if place is None else self._sharing.get(place, [])

    def renamed_by(self, node: fx.Node) -> list[fx.Node] | None:
        """Return the earlier nodes whose tensors have new contents after ``node`` has overwritten its first operand.

        These are the operand and all nodes with the same memory, shape and strides. Nodes that read them later must
        read the result of ``node`` in their place. The result is None if this is not possible: the operand is not a
        node, it shares memory with an input of the graph, or views of it with another shape or other strides are read
        later.
        """
        operand = node.args[0]
        if not isinstance(operand, fx.Node):
            return None
        before = [one for one in self.sharing(operand) if self._order[one] < self._order[node]]
        if any(one.op in ("placeholder", "get_attr") for one in before):
            return None
        read_later = [one for one in before if any(self._order[user] > self._order[node] for user in one.users)]
        later_views = [one for one in read_later if _geometry(one) != _geometry(operand)]
        return None if later_views else [one for one in before if _geometry(one) == _geometry(operand)]
