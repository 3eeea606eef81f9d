"""Equations as text, with parentheses only where precedence requires them.

    infix(" · ", PRODUCT, Expression("a + b", SUM), Expression("c"))  →  (a + b) · c

Each operation defines its notation in ``Op.notation``; ``EquationWriter`` in ``equation.py`` writes whole values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import floor
from typing import NamedTuple, cast

COMPARISON, SUM, DIFFERENCE, PRODUCT, QUOTIENT, SIGN, ATOM = 0.0, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0
"""Precedences of operators. Those with the same integer part associate from left to right: a − b + c, a / b · c."""


class Expression(NamedTuple):
    """An expression as text, with the precedence of its outermost operator (``strength``).

    A name, a number or a call is an ``ATOM``, which binds most strongly.
    """

    text: str
    strength: float = ATOM

    def within(self, strength: float) -> str:
        """Return the text as an operand of an operator of precedence ``strength``.

        It is in parentheses if the precedence of the expression is lower.
        """
        return self.text if self.strength >= strength else f"({self.text})"


def infix(sign: str, strength: float, left: Expression, right: Expression, regroups: bool = False) -> Expression:
    """Return the expression ``left sign right``, with parentheses where they are needed.

    ``strength`` is the precedence of the operator ``sign``. ``regroups`` says that the operator is associative, so that
    a + (b + c) may be written a + b + c.
    """
    whole = floor(strength)
    binds = right.strength >= whole + 1 or (regroups and right.strength == strength)
    after = right.text if binds and not right.text.startswith("−") else f"({right.text})"  # a + (−b)
    return Expression(f"{left.within(whole)}{sign}{after}", strength)


def prefix(sign: str, operand: Expression) -> Expression:
    """Return the expression of the operator ``sign`` before an operand, such as ``−x`` or ``−(a + b)``."""
    return Expression(sign + operand.within(ATOM), SIGN)


def call(name: str, operands: tuple[Expression, ...], options: Mapping[str, str]) -> Expression:
    """Return an operation written as a call with its operands and options: ``name(a, b, option=1)``."""
    written = [f"{option}={value}" for option, value in options.items()]
    return Expression(f"{name}({', '.join([*(one.text for one in operands), *written])})")


def with_numbers(equation: str, numbers: Mapping[str, str]) -> str:
    """Return an equation with numbers in place of its letters: ``y = αx`` with {"α": "0.1"} becomes ``y = 0.1·x``.

    Factors of 1 and terms of 0 are left out.
    """
    for letter, number in numbers.items():
        equation = re.sub(rf"(?<!\w){letter}(?=\w\b)", f"{number}·", equation)  # αx
        equation = re.sub(rf"(?<!\w){letter}\b", number, equation)
    equation = re.sub(r" · 1(?![\d.])", "", equation)
    return re.sub(r" [−+] 0(?![\d.])", "", equation)


def number_text(value: object) -> str:
    """Return the value of an option as text: a number as in ``0.1``, a tuple as in ``(2, 1)``.

    A tuple of equal numbers is written as one number: ``2`` for (2, 2). If the items are pairs (before, after), as for
    padding, only the first number of each is shown.
    """
    if isinstance(value, tuple):
        given = cast("tuple[object, ...]", value)
        entries = [cast("object", entry[0]) if isinstance(entry, tuple) else entry for entry in given]
        if len(set(entries)) > 1:
            return f"({', '.join(map(str, entries))})"
        return str(entries[0]) if entries else "0"
    return f"{value:g}" if isinstance(value, float) else str(value)
