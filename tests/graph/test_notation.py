"""Equations are written with the parentheses that they need, and no more."""

from __future__ import annotations

import pytest

from striate.graph.arithmetic import Add, Divide, Multiply, MultiplyAdd, Negative, Subtract
from striate.graph.graph import Input
from striate.graph.notation import Expression, number_text, with_numbers
from striate.graph.op import Op, registry

X, Y, Z = Expression("x"), Expression("y"), Expression("z")


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        (Add().written(X, Add().written(Y, Z)), "x + y + z"),
        (Subtract().written(X, Add().written(Y, Z)), "x − (y + z)"),
        (Subtract().written(X, Subtract().written(Y, Z)), "x − (y − z)"),
        (Add().written(Subtract().written(X, Y), Z), "x − y + z"),
        (Multiply().written(Add().written(X, Y), Z), "(x + y) · z"),
        (Multiply().written(X, Divide().written(Y, Z)), "x · (y / z)"),
        (Multiply().written(X, Divide().written(Expression("1"), Z)), "x / z"),
        (Divide().written(X, Multiply().written(Y, Z)), "x / (y · z)"),
        (Add().written(X, Negative().written(Y)), "x + (−y)"),
        (Negative().written(Add().written(X, Y)), "−(x + y)"),
        (MultiplyAdd().written(X, Add().written(Y, Z), Y), "x · (y + z) + y"),
    ],
)
def test_signs(expression: Expression, text: str) -> None:
    assert expression.text == text


@pytest.mark.parametrize(
    "op", [cls for cls in registry().values() if cls.__module__.startswith("striate.") and not issubclass(cls, Input)]
)
def test_every_operation_names_itself(op: type[Op]) -> None:
    assert op.words()
    assert op.equation()
    for option in op.letters.values():
        assert option in op.__dataclass_fields__, f"{op.__name__}: its equation has a letter for {option}"


def test_numbers_stand_in_place_of_letters() -> None:
    assert with_numbers("y = x where x > 0, else αx", {"α": "0.2"}) == "y = x where x > 0, else 0.2·x"
    assert with_numbers("x[p · stride + k − before]", {"stride": "1", "before": "0"}) == "x[p + k]"
    assert number_text(((1, 1), (0, 2))) == "(1, 0)"
    assert number_text((2, 2)) == "2"
