"""The description of a layer in PyTorch's terms, from which the same network can be built in PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from striate.ops.window import Pairs


@dataclass(frozen=True)
class ForeignLayer:
    """The class ``name`` in ``torch.nn``, with the keyword arguments ``options`` that create an equivalent layer."""

    name: str
    options: Mapping[str, object] = field(default_factory=dict[str, object])


def symmetric(padding: Pairs) -> tuple[int, ...] | None:
    """Return padding as one number per axis, or None if the two sides of an axis differ.

    ``padding`` has (before, after) for each axis. The layers of PyTorch take one number per axis.
    """
    return None if any(before != after for before, after in padding) else tuple(before for before, _ in padding)
