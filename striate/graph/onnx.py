"""The interface through which operations write themselves as ONNX operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from striate.graph.value import Array, DType, Shape

Attribute = int | float | str | Sequence[int] | Sequence[float] | Sequence[str]
"""The types that an attribute of an ONNX operator can have."""


class OnnxWriter(Protocol):
    """Protocol: an ONNX graph that is being written; values are identified by their names."""

    def add(self, operator: str, *inputs: str, **attributes: Attribute | None) -> str:
        """Add an operator of ONNX's default domain and return the name of its first output.

        ``operator`` is its type, such as "Conv", and ``inputs`` are the names of its inputs. An input named "" is
        omitted, and so is an attribute that is None.
        """
        ...

    def add_outputs(self, count: int, operator: str, *inputs: str, **attributes: Attribute | None) -> Sequence[str]:
        """Add an operator with ``count`` outputs, as ``add`` does, and return the names of the outputs."""
        ...

    def cast(self, x: str, dtype: DType) -> str:
        """Add a conversion of the value ``x`` to ``dtype`` and return the name of the result."""
        ...

    def constant(self, array: Array) -> str:
        """Store an array in the graph as a constant and return its name."""
        ...

    def integers(self, *numbers: int) -> str:
        """Store numbers as a constant int64 vector, such as axes or a shape, and return its name."""
        ...

    def shape(self, shape: Shape) -> str:
        """Return the name of an int64 vector that contains ``shape``.

        If ``shape`` contains the symbolic size N, its value is read from an input when the ONNX graph runs.
        """
        ...
