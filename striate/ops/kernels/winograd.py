"""Winograd's minimal filtering: convolutions with fewer multiplications, by transforming small tiles.

    Y = Aᵀ [ (G g Gᵀ) ⊙ (Bᵀ d B) ] A        (Winograd 1980; Lavin and Gray 2015, arXiv:1509.09308)

d is a tile of the input, g the filter and Y a tile of the output. F(m, r) computes m outputs of an r-tap filter from
m + r − 1 products. It evaluates polynomials at the points 0, ±1, ½, −2 and ∞: with ½ and −2 in place of the usual ±2,
the largest entries of the transforms, and so the rounding error, are about half as large. Longer filters along a single
axis need −½ and 2 as well.

With stride 2, every other tap of a filter reads pixels of one parity, and the taps between them those of the other
parity. Each set is a filter of stride 1 for its pixels: five taps are F(4, 3) and F(4, 2), with 11 products instead of
20 along an axis, 121 instead of 400 in a tile. Of three taps, the inner one is alone: it takes four plain products,
whose pixels count as points that share one filter entry, so matrices describe this case as well.

Along the depth, nothing is transformed: the taps of a filter of several planes are summed like input channels.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from striate.codegen.kernel import Kernel
from striate.codegen.lanes import LANES, Index, Pointer, Vector
from striate.codegen.launch import KernelSpec
from striate.codegen.storage import BLOCK
from striate.dtypes import DType

Matrix = tuple[tuple[Fraction, ...], ...]
PADDING = 16
"""Elements added between rows that would otherwise be a power of two apart, and evict each other from the cache."""

SUMMED_APART = 4
"""The number of input blocks that are summed by themselves before this sum is added to the total, against rounding."""

POINTS = (
    Fraction(0), Fraction(1), Fraction(-1), Fraction(1, 2), Fraction(-2), Fraction(-1, 2), Fraction(2),
)  # fmt: skip

SIX_OPERATIONS = 16
"""The number of operations on vectors that ``transform_six`` emits."""

Transform = tuple[Matrix, Callable[[Sequence[Vector]], list[Vector]]]
"""A matrix, and the function that emits its product with vectors."""


@dataclass(frozen=True)
class Transforms:
    """The transforms of minimal filtering along one axis: the matrices ``output`` Aᵀ, ``filter`` G and ``input`` Bᵀ.

    Point j of the transformed input is multiplied by row j of the transformed filter, or by the last row if there are
    fewer rows than points.
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

    Row j of G and Bᵀ belongs to point a_j, the last row to ∞. With f_j = Π (a_j − a_k) over all k ≠ j:
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


@dataclass(frozen=True)
class Form:
    """The form of minimal filtering along one axis of a tile.

    The tile has ``tile`` outputs along the axis, and the filter ``taps`` taps. F(1, 1) transforms nothing. With
    ``stride`` 1, one form F(tile, taps)
    serves the convolution, its input gradient and, with the roles exchanged, its weight gradient. With ``stride`` 2,
    which requires an odd number of taps, the input gradient has a form of its own (``upward``): pixels of dx of one
    parity (odd if ``odd``, else even) are reached by the even taps, the others by the odd taps.
    """

    tile: int  # outputs
    taps: int
    stride: int = 1
    upward: bool = False
    odd: bool = False

    @property
    def step(self) -> int:
        """The distance between neighbouring tiles, in pixels of the kernel's input."""
        return self.tile // self.stride if self.upward else self.tile * self.stride

    @property
    def patch(self) -> int:
        """The number of input pixels that a tile reads along an axis."""
        return len(self.transforms.input[0])

    @property
    def points(self) -> int:
        """The number of products of a tile along an axis."""
        return len(self.transforms.input)

    @property
    def filters(self) -> int:
        """The number of entries of the transformed filter along an axis: the rows of G."""
        return len(self.transforms.filter)

    @property
    def transforms(self) -> Transforms:
        """The transforms (of output, filter and input) with which the form computes its tiles.

        An input gradient of stride 1 has those of the convolution, because it is a convolution with the flipped filter.
        The weight gradient has others: ``gradient``.
        """
        return transforms(self.tile, self.taps) if self.stride == 1 else _strided(self)

    @property
    def gradient(self) -> Transforms:
        """The transforms of the weight gradient.

        ``filter`` transforms tiles of dy, ``output`` computes the taps, and ``input`` transforms tiles of x as in the
        convolution.
        """
        if self.stride == 1:
            return transforms(self.taps, self.tile).with_plain_filter()
        return _strided_gradient(self)

    @property
    def parts(self) -> tuple[Form, Form] | None:
        """The forms of the even and the odd taps, if they transform the input independently of each other."""
        if self.stride == 1 or self.upward or self.taps < 5:
            return None
        even, odd = halves(self.taps)
        return Form(self.tile, even), Form(self.tile, odd)

    @property
    def input_operations(self) -> int:
        """The number of operations on vectors that ``input_transform`` emits."""
        if self.patch == self.points == 6:
            return SIX_OPERATIONS
        parts = self.parts
        return sum(part.input_operations for part in parts) if parts else operations(self.transforms.input)

    def input_transform(self, k: Kernel) -> Transform:
        """Return Bᵀ, and the function that emits Bᵀ d for ``patch`` vectors d: ``points`` vectors."""
        matrix = self.transforms.input
        if self.patch == self.points == 6:
            return matrix, lambda d: transform_six(k, d)
        if self.parts is None:
            return transform_by(k, matrix)
        even, odd = (part.input_transform(k)[1] for part in self.parts)
        return matrix, lambda d: [*even(d[0::2]), *odd(d[1::2])]


@dataclass(frozen=True)
class Tiling:
    """The form of the tiles of a convolution: one along the height, one along the width, and the taps of the depth.

    A tile lies in one plane of the output. Its products are summed over ``planes`` planes of the input, as they are
    over the channels.
    """

    height: Form
    width: Form
    planes: int = 1

    @property
    def axes(self) -> tuple[Form, Form]:
        """The forms along the height and the width."""
        return self.height, self.width

    @property
    def positions(self) -> int:
        """The number of products of a tile, which is the number of entries of its transformed input."""
        return self.height.points * self.width.points

    @property
    def entries(self) -> int:
        """The number of entries of a transformed filter of one plane."""
        return self.height.filters * self.width.filters

    @property
    def taps(self) -> int:
        """The number of taps of one plane of the filter."""
        return self.height.taps * self.width.taps

    @property
    def steps(self) -> tuple[int, int]:
        """The distance between neighbouring tiles of the input along the height and the width, in pixels."""
        return self.height.step, self.width.step

    @property
    def outputs(self) -> tuple[int, int]:
        """The number of outputs of a tile along the height and the width."""
        return self.height.tile, self.width.tile

    def grid(self, sizes: tuple[int, int, int]) -> tuple[int, int, int]:
        """Return the number of tiles along each axis of an output with these spatial sizes."""
        depth, height, width = sizes
        return depth, -(-height // self.height.tile), -(-width // self.width.tile)

    def input_transforms(self, k: Kernel) -> tuple[Transform, Transform]:
        """Return the transforms Bᵀ of input tiles along the height and the width."""
        return self.height.input_transform(k), self.width.input_transform(k)


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
def _strided(form: Form) -> Transforms:
    """Return the transforms for an odd number of taps and stride 2: F(4, r) for even and for odd taps.

    The even taps come first: if there is a single odd tap, its points are last, and share the last filter entry. Raises
    ``ValueError`` for any other form.
    """
    if form.taps % 2 == 0 or form.taps < 3 or form.tile != (8 if form.upward else 4) or form.stride != 2:
        raise ValueError(f"no form is known for {form}")
    taps = halves(form.taps)
    even, odd = (_half(4, r) for r in taps)
    size = 8 + form.taps - 2
    filter = [
        *(_spread(row, 0, 2, form.taps) for row in even.filter), *(_spread(row, 1, 2, form.taps) for row in odd.filter),
    ]  # fmt: skip
    if not form.upward:
        input = [*(_spread(row, 0, 2, size) for row in even.input), *(_spread(row, 1, 2, size) for row in odd.input)]
        output = [[*row, *other] for row, other in zip(even.output, odd.output, strict=True)]
        return Transforms(_frozen(output), _frozen(filter), _frozen(input))
    # The filter is rotated by 180°, which leaves even taps at even places, because the number of taps is odd.
    patch = len(even.input)
    input = [*even.input, *(_spread(row, 0 if form.odd else 1, 1, patch) for row in odd.input)]
    first = [[*row, *[Fraction(0)] * len(odd.input)] for row in even.output]
    second = [[*[Fraction(0)] * len(even.input), *row] for row in odd.output]
    places = (second, first) if form.odd else (first, second)
    output = [row for rows in zip(*places, strict=True) for row in rows]
    return Transforms(_frozen(output), _frozen(filter), _frozen(input))


@functools.cache
def _strided_gradient(form: Form) -> Transforms:
    """Return the transforms of the weight gradient for stride 2: F(r, 4) computes the even and the odd taps.

    A single odd tap is a sum over four pixels, whose products are added into one entry.
    """
    even, odd = halves(form.taps)
    one = transforms(even, 4).with_plain_filter()
    other = Transforms(_frozen([[Fraction(1)]]), _frozen(_units(4)), ())
    if odd > 1:
        other = transforms(odd, 4).with_plain_filter()
    blank, gap = [Fraction(0)] * len(one.output[0]), [Fraction(0)] * len(other.output[0])
    output = [
        [*blank, *other.output[tap // 2]] if tap % 2 else [*one.output[tap // 2], *gap] for tap in range(form.taps)
    ]
    return Transforms(_frozen(output), _frozen([*one.filter, *other.filter]), form.transforms.input)


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


def apply(k: Kernel, matrix: Matrix, x: Sequence[Vector | None]) -> list[Vector]:
    """Emit matrix · x for vectors x; two rows that differ only in the signs of some entries share partial sums.

    A vector may be None if its column of the matrix is 0.
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

    Bᵀ depends only on m + r, so F(4, 3) and F(2, 5) share it. Row j holds the coefficients of M(x) / (x − a_j), the
    last those of M(x) = x (x² − 1)(x − ½)(x + 2). With t = d₃ − d₁ and u = d₄ − d₂, which come from the factor x² − 1,
    every row is u or t plus a few terms.
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
    """Return a matrix and the function that emits its product with vectors."""
    return matrix, lambda x: apply(k, matrix, x)


def transform_both(
    k: Kernel, transforms: tuple[Transform, Transform], load: Callable[[int, int], Vector]
) -> Iterator[tuple[tuple[int, ...], Iterator[list[Vector]]]]:
    """Emit S d Tᵀ for d[i][j] = ``load(i, j)`` and (S, T) = ``transforms``, some rows at a time.

    Yields pairs (numbers of rows, iterator over these rows). Rows of S that are unit vectors copy a row of d: each is
    yielded by itself, and its pixels are loaded only then. The other rows are yielded together, because they share
    loads. Each row is computed when the iterator is advanced, so that it can be stored before the next one needs
    registers.
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


def lines_apart(dtype: DType) -> int:
    """Return how many pixels of the dtype, each with a block of 16 channels, fill one cache line of 64 bytes.

    The result is at least 1.
    """
    return max(1, 64 // (BLOCK * dtype.numpy.itemsize))


def _number(k: Kernel, like: Vector, number: Fraction) -> Vector:
    return k.constant_like(like, float(number))


@dataclass(frozen=True)
class WinogradPack(KernelSpec):
    """The kernel that transforms and packs the filters: U = G g Gᵀ for each pair of channels and each plane.

    U is [output block][position][plane][input channel][16]. A position is an entry of the transformed filter, and the
    16 lanes are output channels. In bfloat16, pairs of channels are interleaved: […][plane][input pair][16][2].
    ``filters`` is the number O of output channels, and ``channels`` the number C of input channels. ``form`` has the
    sizes of the tiles, and ``operands`` is the dtype of U. With ``transposed``, it packs for the input gradient: lanes
    are input channels, and the filter is rotated by 180°. A chunk, the unit of work of a thread, is one output block
    and one block of input channels. Operands: weights (O, C, planes, taps, taps) in NumPy's order, U.
    """

    dtype: DType
    operands: DType
    filters: int
    channels: int
    form: Tiling
    transposed: bool

    @property
    def summed(self) -> int:
        """The number of channels that the convolution sums over: C, or O with ``transposed``."""
        return self.filters if self.transposed else self.channels

    @property
    def per_position(self) -> int:
        """The number of packed elements of one position, padded so that positions do not share cache sets."""
        return self.form.planes * self.summed * LANES + PADDING * self.together

    @property
    def together(self) -> int:
        """The number of input channels that are interleaved: 2 in bfloat16, else 1."""
        return 2 if self.operands is DType.bfloat16 else 1

    @property
    def per_block(self) -> int:
        """The number of packed elements of one output block."""
        return self.form.entries * self.per_position

    @property
    def chunks(self) -> int:
        """The number of chunks: output blocks times blocks of 16 input channels."""
        outputs = self.channels if self.transposed else self.filters
        return -(-outputs // LANES) * -(-self.summed // BLOCK)

    def write(self, k: Kernel) -> None:
        several = -(-self.summed // BLOCK)
        out, first = k.idiv(k.chunk, several), k.imul(k.imod(k.chunk, several), BLOCK)
        target = k.offset(k.operand(1), k.imul(out, self.per_block), self.operands)
        self.transform(k, k.operand(0), target, out, (first, k.imin(k.iadd(first, BLOCK), self.summed)))

    def transform(
        self, k: Kernel, weights: Pointer, target: Pointer, out: Index, channels: tuple[Index, Index]
    ) -> None:
        """Emit the transformed filters U = G g Gᵀ of an output block for a range of input channels.

        ``out`` is the number of the output block, and ``channels`` is (first, one past the last input channel).
        ``weights`` is the address of the filters g in NumPy's order, and ``target`` that of the block's U.
        """
        with k.loop(0, self.form.planes) as plane, k.loop(*channels, self.together) as into:
            points = [
                self._points(k, weights, out, k.iadd(into.index, channel), plane.index)
                for channel in range(self.together)
            ]
            summed = k.iadd(k.imul(plane.index, self.summed), into.index)
            first = k.offset(target, k.imul(summed, LANES), self.operands)
            for position, value in enumerate(points[0]):
                place = k.offset(first, position * self.per_position, self.operands)
                if self.together == 2:
                    k.store_pairs(value, next(points[1]), place)
                else:
                    k.store(value, place, self.operands, 64)

    def _points(self, k: Kernel, weights: Pointer, out: Index, into: Index, plane: Index) -> Iterator[Vector]:
        """Emit the transformed filters of one input and 16 output channels; yield a vector for each position.

        ``plane`` is the number of the tap along the depth, counted from the last one with ``transposed``.
        """
        dtype, form = self.dtype, self.form
        heights, widths = range(form.height.taps), range(form.width.taps)
        outputs = self.channels if self.transposed else self.filters
        taps_of_pair = form.planes * form.taps
        step = taps_of_pair if self.transposed else self.channels * taps_of_pair
        other = self.channels * taps_of_pair if self.transposed else taps_of_pair
        first = k.imul(k.isub(form.planes - 1, plane) if self.transposed else plane, form.taps)
        count = k.imin(LANES, k.isub(outputs, k.imul(out, LANES))) if outputs % LANES else LANES
        corner = k.offset(weights, k.iadd(k.imul(k.imul(out, LANES), step), k.imul(into, other), first), dtype)
        taps = [
            [k.load_strided(k.offset(corner, h * len(widths) + w, dtype), dtype, step, count) for w in widths]
            for h in heights
        ]  # fmt: skip
        if self.transposed:
            taps = [row[::-1] for row in taps[::-1]]
        columns = [apply(k, form.height.transforms.filter, [taps[h][w] for h in heights]) for w in widths]
        for i in range(form.height.filters):
            yield from apply(k, form.width.transforms.filter, [columns[w][i] for w in widths])
