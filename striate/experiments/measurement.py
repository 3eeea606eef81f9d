"""The measurements of an experiment: one number for each setting, quantity and seed.

A setting is one of the compared configurations, such as "CNN, images"; a quantity is what is measured, such as
"accuracy".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from statistics import median
from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]


def _power(number: float) -> str:
    """Format a number with two digits: "0.86", or "3.1e-7" if plain digits would be long."""
    if number == 0 or 0.01 <= abs(number) < 1000:
        return f"{number:.2g}" if abs(number) < 100 else f"{number:.0f}"
    mantissa, exponent = f"{number:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


class Form(Enum):
    """How the numbers of a quantity are formatted."""

    PERCENT = "percent"  # from 0 to 1
    POWER = "power"  # over many powers of ten
    PLAIN = "plain"
    COUNT = "count"

    def text(self, number: float) -> str:
        """Format one number; NaN and infinity, for what could not be measured, become "–"."""
        return _WRITTEN[self](number) if math.isfinite(number) else "–"


_WRITTEN: dict[Form, Callable[[float], str]] = {
    Form.PERCENT: lambda number: f"{100 * number:.1f} %",
    Form.POWER: _power,
    Form.PLAIN: lambda number: f"{number:.2f}",
    Form.COUNT: lambda number: f"{number:,.0f}" if number == int(number) else f"{number:,.1f}",
}


@dataclass(frozen=True)
class Quantity:
    """A measured quantity: its name, its format, and whether its minimum and maximum are shown beside the median."""

    name: str
    form: Form = Form.PERCENT
    spread: bool = True


@dataclass
class Measurement:
    """The numbers of an experiment by setting, quantity and seed.

    ``quantities`` are the quantities that may be added. ``arrays`` are further data for the picture, by name, and
    ``remarks`` are texts that are printed, such as an error message.

    >>> found = Measurement((Quantity("accuracy"),))
    >>> for accuracy in (0.91, 0.95, 0.94):
    ...     found.add("CNN", accuracy=accuracy)
    >>> found.text("CNN", "accuracy")
    '94.0 % (91.0–95.0)'
    """

    quantities: tuple[Quantity, ...]
    numbers: dict[str, dict[str, list[float]]] = field(default_factory=dict[str, dict[str, list[float]]])
    arrays: dict[str, Array] = field(default_factory=dict[str, Array])
    remarks: list[str] = field(default_factory=list[str])

    def add(self, setting: str, **numbers: float) -> None:
        """Add the numbers of one seed, by quantity; a space in a quantity's name is written as "_"."""
        row = self.numbers.setdefault(setting, {})
        for name, number in numbers.items():
            row.setdefault(self.quantity(name.replace("_", " ")).name, []).append(float(number))

    def quantity(self, name: str) -> Quantity:
        """Return the quantity with this name; raises ``KeyError`` if the experiment does not measure it."""
        for one in self.quantities:
            if one.name == name:
                return one
        raise KeyError(name)

    @property
    def settings(self) -> list[str]:
        """The measured settings, in the order of measurement."""
        return list(self.numbers)

    def values(self, setting: str, quantity: str) -> list[float]:
        """Return one number per seed, or [] if the quantity was not measured for the setting."""
        return self.numbers[setting].get(self.quantity(quantity).name, [])

    def median(self, setting: str, quantity: str) -> float:
        """Return the median over the seeds, or NaN if nothing was measured."""
        values = self.values(setting, quantity)
        return median(values) if values else math.nan

    def low(self, setting: str, quantity: str) -> float:
        """Return the minimum over the seeds, or NaN if nothing was measured."""
        return min(self.values(setting, quantity), default=math.nan)

    def high(self, setting: str, quantity: str) -> float:
        """Return the maximum over the seeds, or NaN if nothing was measured."""
        return max(self.values(setting, quantity), default=math.nan)

    def short(self, setting: str, quantity: str) -> str:
        """Return the median over the seeds as text, such as "94.0 %"."""
        return self.quantity(quantity).form.text(self.median(setting, quantity))

    def text(self, setting: str, quantity: str) -> str:
        """Return the median, minimum and maximum over the seeds as text, such as "94.0 % (91.0–95.0)".

        The text is only the median if all seeds agree, or if the quantity hides its spread. It is "" if nothing was
        measured.
        """
        values = self.values(setting, quantity)
        if not values:
            return ""
        form, spread = self.quantity(quantity).form, self.quantity(quantity).spread
        low, high = form.text(min(values)).removesuffix(" %"), form.text(max(values)).removesuffix(" %")
        return (
            f"{self.short(setting, quantity)} ({low}–{high})"
            if spread and low != high
            else self.short(setting, quantity)
        )

    def to_json(self) -> dict[str, Any]:
        """Return {setting: {quantity: {"median", "low", "high", "values"}}}; NaN and infinity become None."""
        return {
            setting: {
                name: {
                    "median": _plain(self.median(setting, name)),
                    "low": _plain(min(values)),
                    "high": _plain(max(values)),
                    "values": [_plain(value) for value in values],
                }
                for name, values in row.items()
            }
            for setting, row in self.numbers.items()
        }


def _plain(number: float) -> float | None:
    return number if math.isfinite(number) else None


def made_up(quantities: tuple[Quantity, ...], numbers: Mapping[str, Mapping[str, float]]) -> Measurement:
    """Return a measurement with the given ``numbers[setting][quantity]`` for a single seed, to test verdicts."""
    found = Measurement(quantities)
    for setting, row in numbers.items():
        for name, number in row.items():
            found.numbers.setdefault(setting, {}).setdefault(found.quantity(name).name, []).append(number)
    return found
