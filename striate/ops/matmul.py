"""Products of matrices and of batches of matrices, and their gradients, which are matrix products as well.

    C[b, m, n] = Σ_k A[b, m, k] · B[b, k, n]

The batch axes, all axes before the last two, broadcast. Either matrix may be stored transposed. The gradient with
respect to a matrix that was broadcast along batch axes is summed over these axes inside the kernel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np

from striate.codegen.launch import Launch
from striate.codegen.microkernel import most_accumulators
from striate.codegen.options import CompileOptions
from striate.codegen.storage import PLAIN, InputLayout
from striate.dtypes import DType
from striate.graph.elementwise import MOST_AXES, broadcast_shapes
from striate.graph.notation import ATOM, PRODUCT, Expression
from striate.graph.onnx import OnnxWriter
from striate.graph.op import Direction, Gradients, Kind, Needed, Sample, Values, register
from striate.graph.operand import as_value
from striate.graph.reshape import joined_sizes, reshape
from striate.graph.value import Array, Batch, Shape, TensorType, Value, operators
from striate.ops import kernels
from striate.ops.anchor import Algorithm, Anchor, LoweringContext
from striate.ops.requirement import N_STAYS, place, require_floats, shape_error
from striate.ops.shaping import expanded, filled
from striate.ops.transposition import Transpose

LONG = 8192
"""The length of the sum over k from which the product of two single matrices divides this sum among chunks."""

UNITS = 32
"""The number of chunks that a sum of products aims at, so that many threads have work."""

LARGEST_TILE = 24
"""The largest number of rows in a tile of sums that is kept in registers."""

CHUNK_FLOPS = 1 << 22
"""Floating point operations that a chunk should have: at most about a millisecond, so that threads balance well."""


@dataclass(frozen=True)
class WithoutSums(Algorithm):
    """The only algorithm of matrix products; reductions of the result may not be fused into its kernel."""

    @property
    def sums(self) -> bool:
        return False


@dataclass(frozen=True)
class MatrixContraction(Anchor):
    """Base class of matrix products (abstract): A (batch…, M, K) times B (batch…, K, N).

    With ``transpose_a``, A is given as (batch…, K, M); with ``transpose_b``, B is given as (batch…, N, K).
    """

    kind: ClassVar[Kind] = Kind.CONTRACTION
    contiguous_inputs: ClassVar[bool] = True
    planar_outputs: ClassVar[bool] = True
    transpose_a: bool = False
    transpose_b: bool = False

    def sizes(self, a: TensorType, b: TensorType) -> tuple[Shape, Shape, Shape]:
        """Return (broadcast sizes of the batch axes, (M, K), (K, N)) for operands of the types ``a`` and ``b``.

        Raises ``ShapeError`` if the operands do not fit together, and ``DTypeError`` unless both have the same float
        dtype.
        """
        require_floats(self, (a, b))
        if a.rank != b.rank or not 2 <= a.rank <= MOST_AXES:
            raise shape_error(
                self, f"expected matrices of one rank from 2 to {MOST_AXES}, got {a} and {b}", "x[None] adds an axis"
            )
        left = a.shape[:-3:-1] if self.transpose_a else a.shape[-2:]
        right = b.shape[:-3:-1] if self.transpose_b else b.shape[-2:]
        if left[1] != right[0]:
            raise shape_error(
                self,
                f"{a} has {left[1]} columns where {b} has {right[0]} rows"
                + (" (after transposing)" if self.transpose_a or self.transpose_b else ""),
                "x @ y takes (…, M, K) and (…, K, N)",
            )
        if isinstance(right[1], Batch):
            raise shape_error(self, f"the samples of {b} would become the last axis of the product", N_STAYS)
        batch = broadcast_shapes([a.shape[:-2], b.shape[:-2]], lambda: place(self)) if a.rank > 2 else ()
        return batch, left, right

    def algorithm(self, inputs: Sequence[TensorType], stored: Sequence[DType], options: CompileOptions) -> Algorithm:
        return WithoutSums()

    def input_layouts(
        self, inputs: Sequence[TensorType], blocks: Sequence[int], algorithm: Algorithm
    ) -> tuple[InputLayout, ...]:
        return (InputLayout((PLAIN,)),) * 2

    def output_layouts(self, inputs: Sequence[TensorType], blocks: Sequence[int]) -> tuple[int, ...]:
        return (PLAIN,)

    def matrices(self, type: TensorType, transposed: bool) -> kernels.panels.Matrices:
        """Return the strides, in elements, of an operand of the type ``type`` in NumPy's order.

        The stride of a batch axis of size 1 is 0. If ``transposed``, the strides of rows and columns are exchanged.
        """
        shape = type.concrete(1)
        strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
        batch = tuple(0 if size == 1 else stride for size, stride in zip(type.shape[:-2], strides[:-2], strict=True))
        found = kernels.panels.Matrices(batch, strides[-2], strides[-1])
        return found.transposed() if transposed else found

    def operand_gradients(self, inputs: Values, dy: Value, needed: Needed) -> tuple[Value | None, Value | None]:
        """Return (dA, dB), the gradients with respect to the inputs; None in place of a gradient that is not needed.

        For C = A · B, the gradients are dA = dC · Bᵀ and dB = Aᵀ · dC, where dC is ``dy``, the gradient with respect to
        C. Along batch axes that were broadcast, the gradients are summed. ``inputs`` are A and B, or Aᵀ with
        ``transpose_a`` and Bᵀ with ``transpose_b``; each gradient has the shape of its input. ``needed`` says for which
        inputs a gradient is needed.
        """
        a, b = inputs
        da = db = None
        if needed[0]:
            if self.transpose_a:
                da = _gradient(b, dy, self.transpose_b, True, a)
            else:
                da = _gradient(dy, b, False, not self.transpose_b, a)
        if needed[1]:
            if self.transpose_b:
                db = _gradient(dy, a, True, self.transpose_a, b)
            else:
                db = _gradient(a, dy, not self.transpose_a, False, b)
        return da, db

    def notation(self, *operands: Expression) -> Expression:
        a, b = operands
        left = f"{a.within(ATOM)}ᵀ" if self.transpose_a else a.within(PRODUCT)
        right = f"{b.within(ATOM)}ᵀ" if self.transpose_b else b.within(ATOM)
        return Expression(f"{left} {right}", PRODUCT)


def _gradient(a: Value, b: Value, transpose_a: bool, transpose_b: bool, like: Value) -> Value:
    """Return A · B in the shape of ``like``, summed over the batch axes along which ``like`` has size 1."""
    batch = broadcast_shapes([a.shape[:-2], b.shape[:-2]], lambda: "matmul") if a.type.rank > 2 else ()
    axes = tuple(axis for axis, size in enumerate(batch) if like.shape[axis] == 1 and size != 1)
    return expanded(product(a, b, transpose_a, transpose_b, axes), like)


def product(a: Value, b: Value, transpose_a: bool, transpose_b: bool, axes: tuple[int, ...] = ()) -> Value:
    """Return A · B for operands of the same rank, 2 to 5, summed over the batch axes ``axes``, which keep size 1.

    With ``transpose_a``, a holds Aᵀ; with ``transpose_b``, b holds Bᵀ. The operation is ``MatMulSum`` if batch axes or
    samples are summed over, or if A is a single matrix with many columns. Otherwise, it is ``MatMul``.
    """
    op = MatMul(transpose_a, transpose_b)
    rows, summed = op.sizes(a.type, b.type)[1]
    long = a.type.rank == 2 and not isinstance(rows, Batch)
    if axes or isinstance(summed, Batch) or (long and summed >= LONG):
        return MatMulSum(transpose_a, transpose_b, axes)(a, b)
    return op(a, b)


@register
@dataclass(frozen=True)
class MatMul(MatrixContraction):
    """C[b, m, n] = Σ_k A[b, m, k] · B[b, k, n]

    A (batch…, M, K) and B (batch…, K, N) have the same rank, 2 to 5, and the same float dtype; batch axes broadcast. If
    A is a single matrix, M may be a number of samples that is known only at run time.
    """

    title: ClassVar[str] = "matmul"
    has_epilogue: ClassVar[bool] = True

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        a, b = inputs
        batch, left, right = self.sizes(a, b)
        if isinstance(left[1], Batch):
            raise shape_error(self, f"cannot sum over the samples of {a}", "use st.ops.matmul")
        return (a.with_shape((*batch, left[0], right[1])),)

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str]:
        rank = types[0].rank
        order = (*range(rank - 2), rank - 1, rank - 2)
        given = zip(inputs, (self.transpose_a, self.transpose_b), strict=True)
        return [to.add("MatMul", *(to.add("Transpose", x, perm=order) if turned else x for x, turned in given))]

    def reference(self, a: Array, b: Array) -> Array:
        left = a.swapaxes(-1, -2) if self.transpose_a else a
        return np.matmul(left, b.swapaxes(-1, -2) if self.transpose_b else b)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        return self.operand_gradients(inputs, expanded(output_gradients[0], outputs[0]), needed)

    def on_empty(self, *inputs: Value) -> tuple[Value, ...]:
        """Return zeros, the sums over an axis k without elements."""
        return (filled(0.0, self.infer(*(x.type for x in inputs))[0]),)

    def lower(self, context: LoweringContext) -> list[Launch]:
        a, b = context.node.inputs
        batch, left, right = self.sizes(a.type, b.type)
        depth, columns = cast(int, left[1]), cast(int, right[1])
        rows = 0 if isinstance(left[0], Batch) else left[0]
        dtype = a.dtype
        pack = kernels.panels.PackPanels(
            dtype, self.matrices(b.type, self.transpose_b), _free(b.shape[:-2]), depth, columns
        )
        tall = min(rows or LARGEST_TILE, LARGEST_TILE, most_accumulators(context.target, dtype, 2))
        tall = -(-rows // -(-rows // tall)) if rows else tall  # equal tiles leave the smallest remainder of rows
        wide = max(1, min(pack.blocks, most_accumulators(context.target, dtype, 2) // (2 * tall), 4)) if tall < 8 else 1
        flops = 2 * depth * columns
        if batch:
            row_part = _part(rows, tall, CHUNK_FLOPS // flops)
            column_part = _part(pack.blocks, wide, CHUNK_FLOPS // (2 * depth * 16 * row_part))
            whole = row_part >= rows and column_part >= pack.blocks
            group = max(1, CHUNK_FLOPS // (flops * rows * math.prod(_fixed(batch[1:])))) if whole else 1
        else:
            row_part = 0
            column_part = _part(pack.blocks, wide, max(wide, CHUNK_FLOPS // (2 * depth * 16 * 4 * tall)))
            group = _part(rows or 1 << 30, tall, max(4 * tall, CHUNK_FLOPS // (2 * depth * 16 * column_part)))
        kernel = kernels.matrix_product.MatrixProduct(
            dtype, self.matrices(a.type, self.transpose_a), pack.panel_strides, _free(batch), rows, depth, columns,
            (tall, wide), group, row_part, column_part, context.region,
        )  # fmt: skip
        path, per, each = context.node.path, *pack.chunks
        size = per * depth * 16 * dtype.numpy.itemsize
        panels = context.buffer("panels", *((0, size) if each else (size,)))
        work = flops * (rows or 1) * math.prod(_fixed(batch))
        free = not rows or (bool(batch) and isinstance(batch[0], Batch))
        each_time, once = (work, 0) if free else (0, work)
        return [
            Launch("pack", path, pack, (b, panels), (per, each), writes=(1,)),
            Launch(
                "matmul", path, kernel, (a, panels, *context.region_operands), kernel.chunks,
                flops_per_sample=each_time, flops=once,
            ),
        ]  # fmt: skip

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        normal = random.standard_normal
        for a, b in (
            ((5, 17), (17, 3)), ((2, 1), (1, 1)), ((3, 18, 17), (1, 17, 33)), ((2, 3, 5, 4), (2, 3, 4, 17)),
            ((1, 3, 2, 7, 1), (1, 1, 2, 1, 16)),
        ):  # fmt: skip
            yield Sample(cls(), (normal(a), normal(b)))
        yield Sample(cls(False, True), (normal((4, 3, 17)), normal((1, 33, 17))))
        yield Sample(cls(True, False), (normal((2, 17, 30)), normal((2, 17, 16))))
        yield Sample(cls(True, True), (normal((2, 1, 17, 3)), normal((2, 4, 18, 17))))
        yield Sample(cls(True, False), (normal((17, 3)), normal((17, 5))), batched=False)
        yield Sample(cls(), (normal((1, 600)), normal((600, 20))), batched=False)

    def label(self, inputs: Sequence[TensorType]) -> str:
        _, left, right = self.sizes(*inputs)
        return f"matmul, {left[1]} → {right[1]}"


@register
@dataclass(frozen=True)
class MatMulSum(MatrixContraction):
    """C[b, m, n] = Σ over the batch axes ``axes`` and k of A[b, m, k] · B[b, k, n]

    A is (batch…, M, K) and B (batch…, K, N). The summed batch axes keep size 1. For single matrices, K may be a number
    of samples that is known only at run time. Sums are accumulated in float64. This operation computes the gradients of
    broadcast matrices, and products with a long sum over k.
    """

    direction: ClassVar[Direction] = Direction.WEIGHT_GRADIENT
    axes: tuple[int, ...] = ()

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        a, b = inputs
        batch, left, right = self.sizes(a, b)
        if isinstance(left[0], Batch) or any(not 0 <= axis < len(batch) for axis in self.axes):
            raise shape_error(self, f"cannot sum {a} and {b} over the batch axes {self.axes}", "use st.ops.matmul")
        kept: Shape = tuple(1 if axis in self.axes else size for axis, size in enumerate(batch))
        return (a.with_shape((*kept, left[0], right[1])),)

    def reference(self, a: Array, b: Array) -> Array:
        left = (a.swapaxes(-1, -2) if self.transpose_a else a).astype(np.float64)
        right = (b.swapaxes(-1, -2) if self.transpose_b else b).astype(np.float64)
        return np.asarray(np.matmul(left, right).sum(self.axes, keepdims=True), a.dtype)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        return self.operand_gradients(inputs, expanded(output_gradients[0], outputs[0]), needed)

    def on_empty(self, *inputs: Value) -> tuple[Value, ...]:
        """Return zeros, the sums over an axis k without elements."""
        return (filled(0.0, self.infer(*(x.type for x in inputs))[0]),)

    def lower(self, context: LoweringContext) -> list[Launch]:
        (a, b), (c,) = context.node.inputs, context.node.outputs
        batch, left, right = self.sizes(a.type, b.type)
        rows, columns = cast(int, left[0]), cast(int, right[1])
        lines, across = self.matrices(a.type, self.transpose_a), self.matrices(b.type, self.transpose_b)
        terms = [
            kernels.matrix_sum.Term(*_counted(batch[axis]), lines.batch[axis], across.batch[axis]) for axis in self.axes
        ]
        terms.append(kernels.matrix_sum.Term(*_counted(left[1]), lines.column, across.row))
        terms = kernels.matrix_sum.joined_terms(terms)
        kept = _free(c.shape[:-2])
        units = math.prod(size for size in kept if size) * -(-columns // 16)
        outer = terms[0]
        most = UNITS if outer.batched else max(1, outer.size * math.prod(t.size for t in terms[1:]) // 512)
        per_sample = bool(kept) and kept[0] == 0
        shares = 1 if per_sample else max(1, min(most, -(-UNITS // units)))
        tile = min(rows, LARGEST_TILE, most_accumulators(context.target, a.dtype, 2))
        kernel = kernels.matrix_sum.MatrixSum(a.dtype, terms, lines, across, kept, rows, columns, shares, tile)
        size = shares * units * kernel.per_unit * 8
        sums = context.buffer("sums of products", *((0, size) if per_sample else (size,)))
        path, group = context.node.path, 1 if per_sample else 0
        work = 2 * rows * columns * math.prod(_fixed(batch)) * math.prod(_fixed(left[1:]))
        free = any(isinstance(size, Batch) for size in (*batch, left[1]))
        each_time, once = (work, 0) if free else (0, work)
        return [
            Launch(
                "sum of products", path, kernel, (a, b, sums), (shares * units, group),
                thread_scratch=kernel.scratch_bytes, flops_per_sample=each_time, flops=once,
            ),
            Launch("add", path, kernels.matrix_sum.AddShares(kernel), (sums, c), (units, group)),
        ]  # fmt: skip

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        normal = random.standard_normal
        yield Sample(cls(True, False), (normal((5, 17)), normal((5, 3))))
        yield Sample(cls(True, False, (0,)), (normal((3, 4, 18)), normal((3, 4, 17))))
        yield Sample(cls(False, True, (0, 1)), (normal((2, 3, 5, 4)), normal((2, 1, 33, 4))))
        yield Sample(cls(False, False, (1,)), (normal((2, 3, 1, 4)), normal((2, 3, 4, 16))))
        yield Sample(cls(True, True, (0, 2)), (normal((2, 3, 4, 2, 3)), normal((2, 1, 4, 17, 2))))
        yield Sample(cls(False, False, ()), (normal((3, 700)), normal((700, 2))), batched=False)
        yield Sample(cls(False, False, (0,)), (normal((2, 3, 700)), normal((2, 700, 5))))


def _free(shape: Shape) -> tuple[int, ...]:
    """Return the sizes of a shape, with 0 in place of the symbolic number of samples N."""
    return tuple(0 if isinstance(size, Batch) else size for size in shape)


def _fixed(shape: Shape) -> tuple[int, ...]:
    """Return the known sizes of a shape, without the symbolic number of samples N."""
    return tuple(size for size in shape if not isinstance(size, Batch))


def _counted(size: int | Batch) -> tuple[int, bool]:
    """Return (size, False) for a known size, and (1, True) for the symbolic number of samples N."""
    return (1, True) if isinstance(size, Batch) else (size, False)


def _part(whole: int, step: int, most: int) -> int:
    """Return the largest multiple of ``step`` that is at most ``most``, but at least ``step``.

    The result is limited to ``whole``, rounded up to a multiple of ``step``.
    """
    return min(-(-whole // step) * step, max(1, most // step) * step)


def matmul(a: Value, b: Value) -> Value:
    """Return A · B as NumPy does: (…, M, K) and (…, K, N) → (…, M, N); axes before the last two broadcast.

    If A is a vector (K,), it counts as one row; if B is a vector (K,), it counts as one column. The result then lacks
    the row or column axis. Both operands have the same dtype, float32 or float64. Raises ShapeError for scalars and for
    sizes that do not match, and DTypeError for other dtypes or if the dtypes differ.
    """
    if a.type.rank == 0 or b.type.rank == 0:
        raise shape_error("matmul", f"expected matrices or vectors, got {a.type} and {b.type}", "x * y scales")
    if a.type.rank == 1:
        if a.type.batched:
            raise shape_error("matmul", f"cannot sum over the samples of {a.type}", "st.ops.sum(x * y)")
        return _without(matmul(reshape(a, (1, *a.shape)), b), -2)
    if b.type.rank == 1:
        if b.type.batched:
            column = reshape(b, (b.shape[0], 1))
            return _without(matmul(a, column), -1)
        return _without(matmul(a, reshape(b, (*b.shape, 1))), -1)
    return contract(a, b)


def _without(x: Value, axis: int) -> Value:
    at = axis % x.type.rank
    return reshape(x, (*x.shape[:at], *x.shape[at + 1 :]))


def contract(a: Value, b: Value, transpose_b: bool = False) -> Value:
    """Return A · B, or A · Bᵀ with ``transpose_b``, for operands of rank 2 or more, whose batch axes broadcast.

    An operand that is itself the transpose of another value is not transposed in memory: the kernel reads the original
    with exchanged strides. Raises ShapeError for sizes that do not match, and DTypeError unless both operands have the
    same float dtype.
    """
    a, transpose_a = _before_transposing(a)
    b, turned = _before_transposing(b)
    transpose_b = transpose_b is not turned
    rank = max(a.type.rank, b.type.rank)
    a, b = (reshape(x, (*(1,) * (rank - x.type.rank), *x.shape)) if x.type.rank < rank else x for x in (a, b))
    if rank > 2 and all(size == 1 for size in b.shape[:-2]) and not transpose_a:
        return _by_one_matrix(a, b, transpose_b)
    if rank <= MOST_AXES:
        return product(a, b, transpose_a, transpose_b)
    batch = broadcast_shapes([a.shape[:-2], b.shape[:-2]], lambda: place("matmul"))
    groups: list[list[int]] = []
    repeats = [tuple(x.shape[axis] != size for x in (a, b)) for axis, size in enumerate(batch)]
    for axis, size in enumerate(batch):
        alone = not axis or isinstance(batch[axis - 1], Batch)
        if alone or isinstance(size, Batch) or repeats[axis] != repeats[axis - 1]:
            groups.append([])
        groups[-1].append(axis)
    if len(groups) > MOST_AXES - 2:
        got = f"{a.type} and {b.type}"
        raise shape_error("matmul", f"too many alternations of repeated axes: {got}", "st.ops.broadcast_to first")
    groups += [[rank - 2], [rank - 1]]
    left, right = (reshape(x, joined_sizes(x.shape, groups)) for x in (a, b))
    c = product(left, right, transpose_a, transpose_b)
    return reshape(c, (*batch, *c.shape[-2:]))


def _before_transposing(x: Value) -> tuple[Value, bool]:
    """Return (original, True) if x only exchanges the last two axes of another value, and (x, False) otherwise."""
    op, rank = x.node.op, x.type.rank
    if isinstance(op, Transpose) and op.axes == (*range(rank - 2), rank - 1, rank - 2):
        return x.node.inputs[0], True
    return x, False


def _by_one_matrix(a: Value, b: Value, transpose_b: bool) -> Value:
    """Return A · B for a single matrix B: the batch axes of A, except N, are joined with its rows."""
    kept = 1 if a.type.batched else 0
    rows = math.prod(_fixed(a.shape[kept:-1]))
    joined = reshape(a, (*a.shape[:kept], rows, a.shape[-1]))
    c = product(joined, reshape(b, (*(1,) * kept, *b.shape[-2:])), False, transpose_b)
    return reshape(c, (*a.shape[:-1], c.shape[-1]))


def _operator(a: object, b: object) -> Value:
    """Implement ``a @ b``, where one of the two may be a NumPy array."""
    like = a if isinstance(a, Value) else b
    assert isinstance(like, Value)
    return matmul(as_value(a, like), as_value(b, like))


operators.update(matmul=_operator)
