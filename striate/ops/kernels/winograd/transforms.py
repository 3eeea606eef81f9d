"""The instructions that transform tiles: products of the small matrices of minimal filtering with vectors.

Each vector contains the same pixel or tap of 16 channels. Entries of ±1 become additions and subtractions, rows that
differ only in signs share partial sums, and ``operations`` counts what is emitted, for the cost model.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

from striate.codegen.kernel import Kernel
from striate.codegen.lanes import Vector
from striate.ops.kernels.winograd.matrices import Matrix

SIX_OPERATIONS = 16
"""The number of operations on vectors that ``transform_six`` emits."""

Transform = tuple[Matrix, Callable[[Sequence[Vector]], list[Vector]]]
"""A matrix, and the function that emits its product with vectors."""


def apply(k: Kernel, matrix: Matrix, x: Sequence[Vector | None]) -> list[Vector]:
    """Emit matrix · x for a sequence x of vectors; return one vector for each row of the matrix.

    Two rows that differ only in the signs of some entries share partial sums. A vector may be None if its column of the
    matrix is 0.
    """
    done: dict[int, Vector] = {}
    for (i, j), (even, odd) in _pairs(matrix).items():
        e, o = _combine(k, even, x), _combine(k, odd, x)
        done[i], done[j] = k.add(e, o), k.sub(e, o)
    return [done[i] if i in done else _combine(k, row, x) for i, row in enumerate(matrix)]


@functools.cache
def operations(matrix: Matrix) -> int:
    """Return the number of operations on vectors that ``apply`` emits; a multiply-add counts as one."""
    pairs = _pairs(matrix)
    paired = {row for pair in pairs for row in pair}
    lone = [row for number, row in enumerate(matrix) if number not in paired]
    halves = [half for both in pairs.values() for half in both]
    return sum(sum(map(bool, row)) - 1 for row in (*lone, *halves)) + 2 * len(pairs)


def _pairs(matrix: Matrix) -> dict[tuple[int, int], tuple[list[Fraction], list[Fraction]]]:
    """Return pairs of rows that differ only in the signs of some entries, with their common and their other entries."""
    found: dict[tuple[int, int], tuple[list[Fraction], list[Fraction]]] = {}
    taken = set[int]()
    for i, row in enumerate(matrix):
        for j in range(i + 1, len(matrix)):
            other = matrix[j]
            if {i, j} & taken or any(abs(a) != abs(b) for a, b in zip(row, other, strict=True)):
                continue
            even = [a if a == b else Fraction(0) for a, b in zip(row, other, strict=True)]
            odd = [a if a != b else Fraction(0) for a, b in zip(row, other, strict=True)]
            if any(even) and any(odd) and sum(map(bool, row)) > 2:
                found[i, j] = even, odd
                taken |= {i, j}
    return found


def transform_six(k: Kernel, d: Sequence[Vector]) -> list[Vector]:
    """Emit Bᵀ d for tiles of six points, in ``SIX_OPERATIONS`` operations, although Bᵀ has 26 entries that are not 0.

    ``d`` are the six input vectors. Bᵀ of F(m, r), with m outputs and r taps, depends only on m + r, so F(4, 3) and
    F(2, 5) share one Bᵀ. Let M(x) = x (x² − 1)(x − ½)(x + 2), with the roots a_j. Row j holds the coefficients of M(x)
    / (x − a_j), and the last row holds the coefficients of M(x). With t = d₃ − d₁ and u = d₄ − d₂, which come from the
    factor x² − 1, every row is u or t plus a few terms.
    """
    d0, d1, d2, d3, d4, d5 = d
    half, three_halves, two = (k.constant_like(d0, number) for number in (-0.5, 1.5, 2.0))
    t, u = k.sub(d3, d1), k.sub(d4, d2)
    return [
        k.multiply_add(three_halves, t, k.add(k.sub(d0, d2), u)),
        k.multiply_add(three_halves, k.add(d2, d3), k.add(u, t)),
        k.multiply_add(three_halves, k.sub(d3, d2), k.sub(u, t)),
        k.multiply_add(two, t, u),
        k.multiply_add(half, t, u),
        k.multiply_add(three_halves, u, k.sub(k.sub(d5, d3), t)),
    ]


def transform_by(k: Kernel, matrix: Matrix) -> Transform:
    """Return the pair (``matrix``, function that emits the product of the matrix and a sequence of vectors)."""
    return matrix, lambda x: apply(k, matrix, x)


def transform_both(
    k: Kernel, transforms: tuple[Transform, Transform], load: Callable[[int, int], Vector]
) -> Iterator[tuple[tuple[int, ...], Iterator[list[Vector]]]]:
    """Emit S d Tᵀ for d[i][j] = ``load(i, j)`` and (S, T) = ``transforms``, some rows at a time.

    Yields pairs (numbers of rows, iterator over these rows of the result). A row of S that is a unit vector copies a
    row of d; it is yielded by itself. All other rows share loads and are yielded together. A row of the result is
    computed only when the iterator is advanced, so the caller can store it before the next row needs registers.
    """
    (matrix, down), (across, along) = transforms
    size, columns = len(matrix[0]), range(len(across[0]))
    passed = {i: row.index(1) for i, row in enumerate(matrix) if sum(map(bool, row)) == 1 and 1 in row}
    mixed = tuple(i for i in range(len(matrix)) if i not in passed)
    seen = {j for i in mixed for j, entry in enumerate(matrix[i]) if entry}
    if len(mixed) == len(matrix):
        halves = [down([load(i, j) for i in range(size)]) for j in columns]
    else:
        part = tuple(matrix[i] for i in mixed)
        halves = [apply(k, part, [load(i, j) if i in seen else None for i in range(size)]) for j in columns]
    yield mixed, (along([half[number] for half in halves]) for number in range(len(mixed)))
    for i, source in passed.items():
        yield (i,), iter([along([load(source, j) for j in columns])])


def _combine(k: Kernel, row: Sequence[Fraction], x: Sequence[Vector | None]) -> Vector:
    """Emit Σ_l row[l] · x[l], with additions or subtractions for entries of ±1 and multiply-adds for the others."""
    total: Vector | None = None
    for factor, value in sorted(zip(row, x, strict=True), key=lambda pair: abs(pair[0]) != 1):
        if factor == 0:
            continue
        assert value is not None  # only vectors whose entry is 0 may be missing
        if total is None:
            total = value if factor == 1 else k.neg(value) if factor == -1 else k.mul(value, _number(k, value, factor))
        elif abs(factor) == 1:
            total = k.add(total, value) if factor == 1 else k.sub(total, value)
        else:
            total = k.multiply_add(value, _number(k, value, factor), total)
    assert total is not None
    return total


def _number(k: Kernel, like: Vector, number: Fraction) -> Vector:
    return k.constant_like(like, float(number))
