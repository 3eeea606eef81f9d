"""The matrices of Winograd's algorithms in exact fractions, and the numbers of multiplications they save."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import pytest

from striate.ops.kernels.winograd import Form, Transforms

FORMS = [
    Form(4, 3), Form(2, 3), Form(2, 5), Form(4, 3, 2), Form(8, 3, 2, True, False), Form(8, 3, 2, True, True),
]  # fmt: skip


def coefficient(matrices: Transforms, output: int, tap: int, pixel: int) -> Fraction:
    """Return the coefficient of the product filter[tap] · patch[pixel] in an output of the tile."""
    rows = zip(matrices.output[output], matrices.input, strict=True)
    last = len(matrices.filter) - 1
    total = sum(out * matrices.filter[min(j, last)][tap] * row[pixel] for j, (out, row) in enumerate(rows))
    return Fraction(total)


def position(form: Form, output: int, tap: int) -> int | None:
    """Return the patch pixel that a filter tap multiplies for an output, or None if there is none.

    For input gradients the filter is rotated by 180°.
    """
    if not form.upward:
        return output * form.stride + tap
    # Output s of dx lies at 2q or 2q + 1 of the padded x. Outer taps meet dy[q − 1] and dy[q], the inner one dy[q].
    sees_two = output % 2 == int(form.odd)
    if sees_two != (tap != 1):
        return None
    return output // 2 + (tap // 2 if sees_two else (0 if form.odd else 1))


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_convolution_and_input_gradient(form: Form) -> None:
    for output, tap, pixel in product(range(form.tile), range(form.taps), range(form.patch)):
        wanted = int(position(form, output, tap) == pixel)
        assert coefficient(form.transforms, output, tap, pixel) == wanted


@pytest.mark.parametrize("form", [form for form in FORMS if not form.upward], ids=str)
def test_weight_gradient(form: Form) -> None:
    matrices = form.gradient
    for tap, i, pixel in product(range(form.taps), range(form.tile), range(form.patch)):
        last = form.filters - 1
        found = sum(
            matrices.output[tap][min(j, last)] * matrices.filter[j][i] * matrices.input[j][pixel]
            for j in range(form.points)
        )
        assert found == int(pixel == i * form.stride + tap)


def test_products_saved() -> None:
    assert {(form.tile, form.taps, form.stride, form.upward): form.points**2 for form in FORMS} == {
        (4, 3, 1, False): 36,  # of 144
        (2, 3, 1, False): 16,  # of 36
        (2, 5, 1, False): 36,  # of 100
        (4, 3, 2, False): 81,  # of 144
        (8, 3, 2, True): 81,
    }


def test_forms_that_nobody_worked_out() -> None:
    with pytest.raises(ValueError, match="no form"):
        assert Form(4, 5, 2).points
