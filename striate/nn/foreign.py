"""The description of a layer as a class of PyTorch with options, to build the same network in PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from striate.ops.window import Pairs


@dataclass(frozen=True)
class ForeignLayer:
    """The layer of ``torch.nn`` that is equivalent to a layer of striate: its class and its options.

    ``name`` is the name of the class, and ``options`` are its keyword arguments.
    """

    name: str
    options: Mapping[str, object] = field(default_factory=dict[str, object])


def symmetric(padding: Pairs) -> tuple[int, ...] | None:
    """Return a padding as one number per axis, or None if the padding before and after an axis differ.

    ``padding`` has (before, after) for each axis.
    """
    return None if any(before != after for before, after in padding) else tuple(before for before, _ in padding)
