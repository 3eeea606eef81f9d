"""The parameters in the flat vector of all of them, for optimizers that need a norm of each."""

from __future__ import annotations

from dataclasses import dataclass

from striate.graph.value import Value
from striate.ops.segment import SegmentSum


@dataclass(frozen=True)
class Layers:
    """Where the parameters begin in the flat vectors; ``bounds`` ends with the length of the vectors."""

    bounds: tuple[int, ...]

    @classmethod
    def single(cls, vector: Value) -> Layers:
        """A vector that is a single parameter."""
        return cls((0, vector.type.size()))

    def total(self, vector: Value) -> Value:
        """Σ over the parameter that an element belongs to, for each element of a flat vector."""
        return SegmentSum(self.bounds)(vector)
