"""Clipping of gradients, by value and by norm, without overflow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from striate.graph.value import Value
from striate.ops import reduction
from striate.ops.arithmetic import maximum, minimum, sqrt
from striate.ops.comparison import greater, where
from striate.options import number


@dataclass(frozen=True)
class Clipping:
    """``max_norm`` scales all gradients together down to that norm; ``clip_value`` first limits each of their elements.

    Both are finite and above 0, or None. As PyTorch's ``clip_grad_norm_`` and ``clip_grad_value_``.
    """

    max_norm: float | None = None
    clip_value: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("max_norm", self.max_norm), ("clip_value", self.clip_value)):
            if value is not None:
                number(name, value, above=0)

    def clip(self, g: Value) -> Clipped:
        """Measures the vector of all gradients."""
        if self.max_norm is None and self.clip_value is None:
            squares = reduction.sum(g * g)
            return Clipped(lambda part: part, squares, sqrt(squares))
        largest, squares = _measured(g)
        norm = largest * sqrt(squares)
        if self.max_norm is None:
            return Clipped(self._limited, squares, norm)
        return Clipped(self._scaled(g, largest, squares), squares, norm)

    def _limited(self, part: Value) -> Value:
        return part if self.clip_value is None else minimum(maximum(part, -self.clip_value), self.clip_value)

    def _scaled(self, g: Value, largest: Value, squares: Value) -> Callable[[Value], Value]:
        """g · min(1, c / (‖g‖ + 10⁻⁶)) for c = ``max_norm`` and the limited g

        With q = g / m and ‖g‖ = m √Σq² the product is q · c / (√Σq² + 10⁻⁶ / m).
        """
        assert self.max_norm is not None
        if self.clip_value is not None:
            largest, squares = _measured(self._limited(g))
        share = self.max_norm / (sqrt(squares) + 1e-6 / largest)
        return lambda part: where(greater(largest, share), self._limited(part) / largest * share, self._limited(part))


@dataclass(frozen=True)
class Clipped:
    """``apply`` clips any part of the gradients. ``squares`` is finite only if all gradients are.

    ``norm`` is √Σg² before the clipping.
    """

    apply: Callable[[Value], Value]
    squares: Value
    norm: Value


def _measured(g: Value) -> tuple[Value, Value]:
    """The largest m = max |g| (1 if all are 0), and Σ (g / m)², in which no square overflows."""
    largest = reduction.max(abs(g))
    m = where(greater(largest, 0.0), largest, 1.0)
    q = g / m
    return m, reduction.sum(q * q)
