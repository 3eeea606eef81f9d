"""The matrices of Winograd's minimal filtering, in exact fractions.

F(m, r) evaluates polynomials at the points 0, ±1, ½, −2 and ∞: with ½ and −2 in place of the usual ±2, the largest
entries of the transforms, and so the rounding error, are about half as large. Longer filters along a single axis need
−½ and 2 as well.

With stride 2, the even taps of a filter read pixels of one parity, and the odd taps read pixels of the other parity.
Both sets of taps are filters of stride 1 on their pixels: five taps become F(4, 3) and F(4, 2), with 11 products
instead of 20 along an axis, or 121 instead of 400 in a tile. A filter of three taps has a single odd tap, which takes
four plain products. In the matrices, the pixels of these products are points that share one entry of the filter.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

Matrix = tuple[tuple[Fraction, ...], ...]

POINTS = (
    Fraction(0), Fraction(1), Fraction(-1), Fraction(1, 2), Fraction(-2), Fraction(-1, 2), Fraction(2),
)  # fmt: skip


@dataclass(frozen=True)
class Transforms:
    """The transforms of minimal filtering along one axis: the matrices ``output`` Aᵀ, ``filter`` G and ``input`` Bᵀ.

    Entry j of the transformed input is multiplied by entry j of the transformed filter. If the filter has fewer
    entries, the last of them multiplies all further entries of the input.
    """

    output: Matrix
    filter: Matrix
    input: Matrix

    def with_plain_filter(self) -> Transforms:
        """Return equivalent transforms in which the first nonzero entry of each row of G is 1.

        The factors move to Aᵀ, which is applied only once, after the sum over all tiles.
        """
        scales = [next(entry for entry in row if entry) for row in self.filter]
        plain = [[entry / scale for entry in row] for row, scale in zip(self.filter, scales, strict=True)]
        output = [[entry * scale for entry, scale in zip(row, scales, strict=True)] for row in self.output]
        return Transforms(_frozen(output), _frozen(plain), self.input)


@functools.cache
def transforms(m: int, r: int) -> Transforms:
    """Return the transforms of F(m, r), m outputs of an r-tap filter along one axis, by the algorithm of Toom and Cook.

    Row j of G and Bᵀ belongs to the interpolation point a_j, the last row to ∞. With f_j = Π (a_j − a_k) over k ≠ j:
    Aᵀ[i, j] = a_jⁱ,  G[j, k] = a_jᵏ / f_j,  and Bᵀ inverts M[t, j] = a_jᵗ / f_j,
    so that Σ_j Aᵀ[i, j] G[j, k] Bᵀ[j, l] = 1 where l = i + k, else 0.
    """
    n = m + r - 1
    points = POINTS[: n - 1]
    f = [_product(a - b for b in points if b != a) for a in points]
    output = [[a**i for a in points] + [Fraction(i == m - 1)] for i in range(m)]
    filter = [[a**k / fj for k in range(r)] for a, fj in zip(points, f, strict=True)]
    filter.append([Fraction(k == r - 1) for k in range(r)])
    square = [[a**t / fj for a, fj in zip(points, f, strict=True)] + [Fraction(t == n - 1)] for t in range(n)]
    return Transforms(_frozen(output), _frozen(filter), _frozen(_inverse(square)))


def halves(taps: int) -> tuple[int, int]:
    """Return (number of even taps, number of odd taps) of a filter; tap 0 is even."""
    return taps - taps // 2, taps // 2


@functools.cache
def _half(m: int, r: int) -> Transforms:
    """Return transforms of F(m, r), for one parity of the taps; one tap alone takes m plain products."""
    if r > 1:
        return transforms(m, r)
    return Transforms(_frozen(_units(m)), _frozen([[Fraction(1)]]), _frozen(_units(m)))


@functools.cache
def strided(taps: int) -> Transforms:
    """Return the transforms of four outputs of a filter with stride 2.

    They combine the transforms of the even taps and of the odd taps, each of the form F(4, r): four outputs of an r-tap
    filter. ``taps`` is odd, and at least 3. The entries of the even taps come first. The products of a single odd tap
    share the last entry of the transformed filter.
    """
    even, odd = (_half(4, r) for r in halves(taps))
    size = 8 + taps - 2
    input = [*(_spread(row, 0, 2, size) for row in even.input), *(_spread(row, 1, 2, size) for row in odd.input)]
    output = [[*row, *other] for row, other in zip(even.output, odd.output, strict=True)]
    return Transforms(_frozen(output), _filters(taps), _frozen(input))


@functools.cache
def strided_upward(taps: int, odd_first: bool) -> Transforms:
    """Return the transforms that compute eight pixels of the input gradient of a filter with stride 2.

    ``taps`` is odd, and at least 3. If ``odd_first``, the odd taps reach the first, third, … pixel, and the even taps
    reach the others; otherwise it is the reverse.
    """
    # The filter is rotated by 180°, which leaves even taps at even places, because the number of taps is odd.
    even, odd = (_half(4, r) for r in halves(taps))
    patch = len(even.input)
    input = [*even.input, *(_spread(row, 0 if odd_first else 1, 1, patch) for row in odd.input)]
    first = [[*row, *[Fraction(0)] * len(odd.input)] for row in even.output]
    second = [[*[Fraction(0)] * len(even.input), *row] for row in odd.output]
    places = (second, first) if odd_first else (first, second)
    output = [row for rows in zip(*places, strict=True) for row in rows]
    return Transforms(_frozen(output), _filters(taps), _frozen(input))


def _filters(taps: int) -> Matrix:
    """Return G for a filter with stride 2: the rows of its even taps, then those of its odd taps."""
    even, odd = (_half(4, r) for r in halves(taps))
    rows = [_spread(row, 0, 2, taps) for row in even.filter]
    return _frozen([*rows, *(_spread(row, 1, 2, taps) for row in odd.filter)])


@functools.cache
def strided_gradient(taps: int) -> Transforms:
    """Return the transforms of the weight gradient of a filter with stride 2.

    They combine the transforms of the even taps and of the odd taps, each of the form F(r, 4): r outputs of a 4-tap
    filter. ``taps`` is odd, and at least 3. A single odd tap is a sum over four pixels, whose products are added into
    one entry.
    """
    even, odd = halves(taps)
    one = transforms(even, 4).with_plain_filter()
    other = Transforms(_frozen([[Fraction(1)]]), _frozen(_units(4)), ())
    if odd > 1:
        other = transforms(odd, 4).with_plain_filter()
    blank, gap = [Fraction(0)] * len(one.output[0]), [Fraction(0)] * len(other.output[0])
    output = [[*blank, *other.output[tap // 2]] if tap % 2 else [*one.output[tap // 2], *gap] for tap in range(taps)]
    return Transforms(_frozen(output), _frozen([*one.filter, *other.filter]), strided(taps).input)


def _units(n: int) -> list[list[Fraction]]:
    return [[Fraction(i == j) for j in range(n)] for i in range(n)]


def _spread(row: Sequence[Fraction], first: int, step: int, size: int) -> list[Fraction]:
    """Return a row of ``size`` zeros with the given entries at every ``step``-th position from ``first`` on."""
    spread = [Fraction(0)] * size
    for number, entry in enumerate(row):
        spread[first + number * step] = entry
    return spread


def _product(factors: Iterable[Fraction]) -> Fraction:
    total = Fraction(1)
    for factor in factors:
        total *= factor
    return total


def _frozen(rows: Sequence[Sequence[Fraction]]) -> Matrix:
    return tuple(tuple(row) for row in rows)


def _inverse(matrix: list[list[Fraction]]) -> list[list[Fraction]]:
    """Invert a matrix by Gauss–Jordan elimination in exact fractions."""
    n = len(matrix)
    rows = [[*row, *(Fraction(i == j) for j in range(n))] for i, row in enumerate(matrix)]
    for column in range(n):
        pivot = next(row for row in range(column, n) if rows[row][column])
        rows[column], rows[pivot] = rows[pivot], rows[column]
        rows[column] = [entry / rows[column][column] for entry in rows[column]]
        for row in range(n):
            if row != column and rows[row][column]:
                factor = rows[row][column]
                rows[row] = [a - factor * b for a, b in zip(rows[row], rows[column], strict=True)]
    return [row[n:] for row in rows]
