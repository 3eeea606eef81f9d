"""Clipping of gradients by value and by norm; no intermediate result overflows."""

from __future__ import annotations

from dataclasses import dataclass

from striate.graph.value import Value
from striate.ops import reduction
from striate.ops.arithmetic import maximum, minimum, sqrt
from striate.ops.comparison import greater, where
from striate.options import number


@dataclass(frozen=True)
class Clipping:
    """The limits for gradients: first ``clip_value`` for each element, then ``max_norm`` for the norm of all.

    ``clip_value`` = v limits each element to −v … v, as PyTorch's ``clip_grad_value_`` does. If the Euclidean norm of
    all gradients together is above ``max_norm``, they are scaled down to this norm, as by ``clip_grad_norm_``. None
    means no limit. Raises ``OptionError`` for a limit that is not finite and above 0.
    """

    max_norm: float | None = None
    clip_value: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("max_norm", self.max_norm), ("clip_value", self.clip_value)):
            if value is not None:
                number(name, value, above=0)

    def clip(self, g: Value) -> Clipped:
        """Return the clipped gradients and their norm before clipping; ``g`` is the vector of all gradients."""
        if (
            self.max_norm is None and self.clip_value is None
        ) or not g.type.size():  # there may be no trainable parameters
            squares = reduction.sum(g * g)
            return Clipped(g, squares, sqrt(squares))
        largest, squares = _measured(g)
        norm = largest * sqrt(squares)
        if self.clip_value is not None:
            g = minimum(maximum(g, -self.clip_value), self.clip_value)
        return Clipped(g if self.max_norm is None else self._scaled(g), squares, norm)

    def _scaled(self, g: Value) -> Value:
        """Return g · min(1, c / (‖g‖ + 10⁻⁶)) for c = ``max_norm``.

        With m = max |g|, q = g / m and ‖g‖ = m √Σq², the product is q · c / (√Σq² + 10⁻⁶ / m).
        """
        assert self.max_norm is not None
        largest, squares = _measured(g)
        share = self.max_norm / (sqrt(squares) + 1e-6 / largest)
        return where(greater(largest, share), g / largest * share, g)


@dataclass(frozen=True)
class Clipped:
    """Gradients after clipping, with ``norm``, their Euclidean norm √Σg² before clipping.

    ``squares`` is a sum of the squares of all gradients. It is finite only if all gradients were finite. With clipping,
    the squares are scaled so that their sum cannot overflow.
    """

    gradients: Value
    squares: Value
    norm: Value


def _measured(g: Value) -> tuple[Value, Value]:
    """Return m = max |g| (1 if all are 0), and Σ (g / m)², in which no square overflows."""
    largest = reduction.max(abs(g))
    m = where(greater(largest, 0.0), largest, 1.0)
    q = g / m
    return m, reduction.sum(q * q)
