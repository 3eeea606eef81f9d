"""What an operation needs to say its ONNX form: the graph that is being written, as it sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from striate.graph.value import Array, DType, Shape

Attribute = int | float | str | Sequence[int] | Sequence[float] | Sequence[str]
"""What an attribute of an ONNX operator holds."""


class OnnxWriter(Protocol):
    """An ONNX graph that is being written; the names of values are texts."""

    def add(self, operator: str, *inputs: str, **attributes: Attribute | None) -> str:
        """Adds an operator of the default domain and returns the name of its first output.

        An input "" is left out, and so is an attribute that is None.
        """
        ...

    def cast(self, x: str, dtype: DType) -> str:
        """The name of a value in another dtype."""
        ...

    def constant(self, array: Array) -> str:
        """The name of an array that the graph holds."""
        ...

    def integers(self, *numbers: int) -> str:
        """The name of a constant vector of int64, such as axes or a shape."""
        ...

    def shape(self, shape: Shape) -> str:
        """The name of a shape as a vector of int64; N is read from an input when the graph runs."""
        ...
