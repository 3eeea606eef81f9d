"""Sums over single parameters within the flat vector of all parameters, for optimizers that need norms."""

from __future__ import annotations

from dataclasses import dataclass

from striate.graph.value import Value
from striate.ops.segment import SegmentSum


@dataclass(frozen=True)
class Layers:
    """The positions of the parameters in the flat vector of all parameters.

    Parameter i covers the elements from ``bounds[i]`` up to, but not including, ``bounds[i + 1]``.
    """

    bounds: tuple[int, ...]

    @classmethod
    def single(cls, vector: Value) -> Layers:
        """Return the positions for a flat vector that consists of a single parameter."""
        return cls((0, vector.type.size()))

    def total(self, vector: Value) -> Value:
        """Return a flat vector in which each element is the sum of ``vector`` over the parameter that it belongs to."""
        return SegmentSum(self.bounds)(vector)
