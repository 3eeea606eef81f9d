"""The matrices of Winograd's algorithms in exact fractions, and the numbers of multiplications they save."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import pytest

from striate.ops.kernels.winograd.matrices import Transforms
from striate.ops.kernels.winograd.tiles import Form

FORMS = [
    Form(1, 1), Form(4, 3), Form(2, 3), Form(2, 5), Form(4, 5), Form(2, 7),
    *(form for taps in (3, 5, 7) for form in (
        Form(4, taps, 2), Form(8, taps, 2, True, False), Form(8, taps, 2, True, True))),
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
    # Output s of dx lies at 2q or 2q + 1 of the padded x. Of r taps, even ones meet dy[q − r // 2] to dy[q], and odd
    # ones dy[q − r // 2 + 1] to dy[q].
    even = output % 2 == int(form.odd)
    if even != (tap % 2 == 0):
        return None
    return output // 2 + tap // 2 + (0 if even or form.odd else 1)


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
    assert {(form.tile, form.taps, form.stride, form.upward): form.points for form in FORMS} == {
        (1, 1, 1, False): 1,
        (4, 3, 1, False): 6,  # of 12
        (2, 3, 1, False): 4,  # of 6
        (2, 5, 1, False): 6,  # of 10
        (4, 5, 1, False): 8,  # of 20
        (2, 7, 1, False): 8,  # of 14
        (4, 3, 2, False): 9,  # of 12
        (8, 3, 2, True): 9,
        (4, 5, 2, False): 11,  # of 20
        (8, 5, 2, True): 11,
        (4, 7, 2, False): 13,  # of 28
        (8, 7, 2, True): 13,
    }


@pytest.mark.parametrize("unknown", [(4, 4, 2), (2, 3, 2), (4, 3, 3), (4, 1, 2)])
def test_forms_without_transforms(unknown: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="no transforms are known"):
        Form(*unknown)
