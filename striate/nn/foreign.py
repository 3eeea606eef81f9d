"""Layers in PyTorch's terms, for comparisons with it. Their ONNX form is that of their operations: ``Op.onnx``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from striate.ops.window import Pairs


@dataclass(frozen=True)
class ForeignLayer:
    """A class of ``torch.nn`` with its arguments."""

    name: str
    options: Mapping[str, object] = field(default_factory=dict[str, object])


def symmetric(padding: Pairs) -> tuple[int, ...] | None:
    """Padding as one number per axis; None if the two sides differ, which PyTorch's layers cannot express."""
    return None if any(before != after for before, after in padding) else tuple(before for before, _ in padding)
