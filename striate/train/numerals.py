"""Format losses and other numbers of a training as text."""

from __future__ import annotations

_LARGE, _SMALL = 1e5, 1e-4


def number_text(number: float | None) -> str:
    """Return a loss as text with four decimals, such as ``0.0356``; very large or very small losses as ``2.1e+33``.

    None becomes a dash.
    """
    if number is None:
        return "–"
    plain = number == 0 or _SMALL <= abs(number) < _LARGE or number != number
    return f"{number:.4f}" if plain else f"{number:.3g}"


def score_text(accuracy: float | None, mean_error: float | None, name: str = "") -> str:
    """Return a text such as ``accuracy 98.59 %``, or ``mean error 0.0213`` without an accuracy; "" if both are None.

    ``accuracy`` is from 0 to 1. ``name``, such as "held-out", is put before the text.
    """
    if accuracy is not None:
        return f"{name} accuracy {100 * accuracy:.2f} %".strip()
    return f"{name} mean error {mean_error:.4g}".strip() if mean_error is not None else ""
