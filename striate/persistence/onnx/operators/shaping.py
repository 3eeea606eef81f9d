"""ONNX operators that rearrange elements, reduce over axes, or multiply matrices."""

from __future__ import annotations

import math
from collections.abc import Callable

from striate import ops
from striate.graph.value import Batch, Shape, Value
from striate.persistence.onnx.call import Call, Operand, Result, Samples, dim_of, operator
from striate.persistence.onnx.operators.folding import slices


@operator("Reshape")
def reshape(call: Call) -> Operand:
    """Return x (operand 0) in the shape given by operand 1; a size of −1 is inferred.

    A size of 0 stands for the size of x on the same axis, unless the attribute ``allowzero`` is set. If the file was
    exported for a fixed batch size, this size on axis 0 stands for N. Raises ``ModelFileError`` or ``ShapeError`` for a
    shape that does not fit x.
    """
    x = call.value(0)
    sizes = call.sizes(1)
    if not call.int("allowzero"):
        kept = [x.shape[place] if place < x.type.rank else 0 for place in range(len(sizes))]
        sizes = [
            (Samples(1) if not isinstance(kept[place], int) else kept[place]) if size == 0 else size
            for place, size in enumerate(sizes)
        ]
    return ops.reshape(x, _target(call, x, sizes))


def _target(call: Call, x: Value, sizes: list[object]) -> Shape:
    if sizes.count(-1) > 1:
        raise call.error(f"two sizes of {_text(sizes)} are left to be inferred")
    if x.type.batched:
        inner = math.prod(x.type.concrete(1))
        if sizes and sizes[0] == call.fixed and call.fixed and Samples(1) not in sizes:
            sizes = [Samples(1), *sizes[1:]]
        rest = [size for size in sizes[1:] if isinstance(size, int) and size != -1]
        if sizes and sizes[0] == -1 and len(rest) == len(sizes) - 1 and math.prod(rest) == inner:
            sizes = [Samples(1), *sizes[1:]]
        if not sizes or sizes[0] != Samples(1):
            raise call.error(f"{x.type} becomes {_text(sizes)}: N, the number of samples, must stay axis 0")
        known = math.prod(rest)
        if -1 in sizes and known and inner % known == 0:
            sizes = [inner // known if size == -1 else size for size in sizes]
    elif -1 in sizes:
        known = math.prod(size for size in sizes if isinstance(size, int) and size != -1)
        total = x.type.size()
        if known and total % known == 0:
            sizes = [total // known if size == -1 else size for size in sizes]
    shape = tuple(dim_of(size) for size in sizes)
    if any(isinstance(dim, int) and dim < 0 for dim in shape):
        raise call.error(f"{x.type} does not become {_text(sizes)}")
    return shape


def _text(sizes: list[object]) -> str:
    return f"({', '.join(map(str, sizes))})"[:200]


@operator("Flatten")
def flatten(call: Call) -> Operand:
    """Return x (operand 0) as a matrix: the axes before axis number ``axis`` become rows, the other axes columns.

    ``axis`` is an attribute, by default 1. If x has the batch size N, ``ModelFileError`` is raised for every axis but
    1.
    """
    x = call.value(0)
    rank = x.type.rank
    axis = call.int("axis", 1)
    axis = rank if axis == rank else call.axis(axis, rank) if rank else 0
    before, after = x.shape[:axis], x.type.concrete(1)[axis:]
    if x.type.batched:
        if axis != 1:
            raise call.error(f"{x.type} is flattened before axis {axis}; N, the number of samples, must stay axis 0")
        return ops.reshape(x, (x.shape[0], math.prod(after)))
    return ops.reshape(x, (math.prod(dim for dim in before if isinstance(dim, int)), math.prod(after)))


@operator("Squeeze")
def squeeze(call: Call) -> Operand:
    x, axes = call.value(0), call.axes(1)
    chosen = (
        [a for a, dim in enumerate(x.shape) if dim == 1] if axes is None else [call.axis(a, x.type.rank) for a in axes]
    )
    if any(x.shape[axis] not in (1,) for axis in chosen):
        raise call.error(f"axes {chosen} of {x.type} are not all of size 1")
    return ops.reshape(x, tuple(dim for axis, dim in enumerate(x.shape) if axis not in chosen))


@operator("Unsqueeze")
def unsqueeze(call: Call) -> Operand:
    x, axes = call.value(0), call.axes(1) or []
    rank = x.type.rank + len(axes)
    chosen = {call.axis(axis, rank) for axis in axes}
    dims = iter(x.shape)
    return ops.reshape(x, tuple(1 if axis in chosen else next(dims) for axis in range(rank)))


@operator("Transpose")
def transpose(call: Call) -> Operand:
    x = call.value(0)
    return ops.transpose(x, call.ints("perm"))


@operator("Concat")
def concat(call: Call) -> Operand:
    values = [call.value(place) for place in range(len(call.operands))]
    return ops.concat(values, call.axis(call.int("axis", 1), values[0].type.rank))


@operator("Split")
def split(call: Call) -> Result:
    """Return the parts into which x (operand 0) is split along the axis in the attribute ``axis``.

    The sizes of the parts are the attribute ``split`` before opset 13, and operand 1 from then on. Without sizes, all
    parts are equal, but the last one may be smaller. Raises ``ModelFileError`` for axis 0, the samples, and for sizes
    that do not fit x.
    """
    x = call.value(0)
    axis = call.axis(call.int("axis"), x.type.rank)
    sizes = call.axes(1, "split")
    length = x.shape[axis]
    if isinstance(length, Batch):
        raise call.error(f"splits the samples of {x.type}")
    if sizes is None:
        parts = call.int("num_outputs", call.count)
        if parts < 1:
            raise call.error(f"splits into {parts} parts")
        step = math.ceil(length / parts)
        sizes = [max(0, min(step, length - place * step)) for place in range(parts)]
    if sum(sizes) != length or any(size < 0 for size in sizes):
        raise call.error(f"axis {axis} of {x.type} does not split into {sizes}")
    return ops.split(x, sizes, axis)


@operator("Slice")
def slice_(call: Call) -> Operand:
    x = call.value(0)
    index: list[slice] = [slice(None)] * x.type.rank
    for axis, start, stop, step in slices(call, x.type.rank):
        whole = isinstance(x.shape[axis], Batch) and start == 0 and step == 1 and (stop is None or stop >= 2**31 - 1)
        index[axis] = slice(None) if whole else slice(start, stop, step)
    return x[tuple(index)]


@operator("Gather")
def gather(call: Call) -> Operand:
    """Return the elements of x (operand 0) at the indices in operand 1 along the axis in the attribute ``axis``.

    In the result, the axes of the index array take the place of this axis. Raises ``ModelFileError`` if the indices
    depend on the model's input.
    """
    x, places = call.value(0), call.known(1)
    axis = call.axis(call.int("axis"), x.type.rank)
    found = ops.take(x, [int(place) for place in places.reshape(-1)], axis)
    return ops.reshape(found, (*x.shape[:axis], *places.shape, *x.shape[axis + 1 :]))


@operator("Expand")
def expand(call: Call) -> Operand:
    x, sizes = call.value(0), call.sizes(1)
    rank = max(len(sizes), x.type.rank)
    given: list[object] = [1] * (rank - len(sizes)) + sizes
    own: Shape = (*(1,) * (rank - x.type.rank), *x.shape)
    shape = tuple(dim if size == 1 else dim_of(size) for size, dim in zip(given, own))
    return ops.broadcast_to(ops.reshape(x, own), shape)


@operator("Tile")
def tile(call: Call) -> Operand:
    return ops.tile(call.value(0), call.wholes(1))


@operator("Pad")
def pad(call: Call) -> Operand:
    """Return x (operand 0) padded by the given amounts before and after each axis.

    The amounts are the attribute ``pads`` before opset 11, and operand 1 from then on. Operand 3 lists the axes to pad;
    without it, the amounts are for all axes. Raises ``ModelFileError`` unless there are two amounts for each axis.
    """
    x = call.value(0)
    rank = x.type.rank
    numbers = call.ints("pads") if call.opset < 11 else call.wholes(1)
    value = call.float("value") if call.opset < 11 else call.number(2, 0.0)
    axes = [call.axis(axis, rank) for axis in call.wholes(3)] if call.given(3) else list(range(rank))
    if numbers is None or len(numbers) != 2 * len(axes):
        raise call.error(f"{len(numbers or [])} paddings for {len(axes)} axes")
    pairs = dict.fromkeys(range(rank), (0, 0)) | {
        axis: (numbers[place], numbers[place + len(axes)]) for place, axis in enumerate(axes)
    }
    mode = call.choice("mode", "constant", ("constant", "reflect", "edge", "wrap"))
    first = next((axis for axis in range(rank) if pairs[axis] != (0, 0)), rank)
    flat = [number for axis in reversed(range(first, rank)) for number in pairs[axis]]
    if not flat:
        return x
    ours = {"edge": "replicate", "wrap": "circular"}.get(mode, mode)
    return ops.pad(x, flat, ours, value or 0.0)


@operator("DepthToSpace")
def depth_to_space(call: Call) -> Operand:
    x, block = call.value(0), call.int("blocksize", 1)
    channels, height, width = _image(call, x)
    if block < 1 or channels % block**2:
        raise call.error(f"{channels} channels in blocks of {block}")
    inner, n = channels // block**2, x.shape[0]
    if call.choice("mode", "DCR", ("DCR", "CRD")) == "DCR":
        y = ops.transpose(ops.reshape(x, (n, block, block, inner, height, width)), (0, 3, 4, 1, 5, 2))
    else:
        y = ops.transpose(ops.reshape(x, (n, inner, block, block, height, width)), (0, 1, 4, 2, 5, 3))
    return ops.reshape(y, (n, inner, height * block, width * block))


@operator("SpaceToDepth")
def space_to_depth(call: Call) -> Operand:
    x, block = call.value(0), call.int("blocksize", 1)
    channels, height, width = _image(call, x)
    if block < 1 or height % block or width % block:
        raise call.error(f"an image of {height}×{width} in blocks of {block}")
    parts = ops.reshape(x, (x.shape[0], channels, height // block, block, width // block, block))
    order = (0, 3, 5, 1, 2, 4) if call.choice("mode", "DCR", ("DCR", "CRD")) == "DCR" else (0, 1, 3, 5, 2, 4)
    return ops.reshape(ops.transpose(parts, order), (x.shape[0], channels * block**2, height // block, width // block))


def _image(call: Call, x: Value) -> tuple[int, int, int]:
    if x.type.rank != 4:
        raise call.error(f"expected (N, C, H, W), got {x.type}")
    channels, height, width = x.type.concrete(1)[1:]
    return channels, height, width


# Reductions

_Reduction = Callable[[Value, tuple[int, ...], bool], Value]


def _reduced(function: _Reduction) -> Callable[[Call], Value]:
    def computed(call: Call) -> Value:
        x, axes = call.value(0), call.axes(1)
        if not axes and call.int("noop_with_empty_axes"):
            return x if call.node.operator in _PLAIN else function(x, (), True)
        keep = bool(call.int("keepdims", 1))
        chosen = tuple(call.axis(axis, x.type.rank) for axis in axes) if axes else tuple(range(x.type.rank))
        return function(x, chosen, keep)

    return computed


_PLAIN = ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd")


def _squares(x: Value, axes: tuple[int, ...], keep: bool) -> Value:
    return ops.sum(x * x, axes, keep) if axes else x * x


def _absolute(x: Value, axes: tuple[int, ...], keep: bool) -> Value:
    return ops.sum(abs(x), axes, keep) if axes else abs(x)


def _root(x: Value, axes: tuple[int, ...], keep: bool) -> Value:
    return ops.sqrt(_squares(x, axes, keep))


def _log(x: Value, axes: tuple[int, ...], keep: bool) -> Value:
    return ops.log(ops.sum(x, axes, keep) if axes else x)


def _log_exp(x: Value, axes: tuple[int, ...], keep: bool) -> Value:
    return ops.logsumexp(x, axes, keep) if axes else x


_REDUCTIONS: dict[str, _Reduction] = {
    "ReduceSum": ops.sum, "ReduceMean": ops.mean, "ReduceMax": ops.max, "ReduceMin": ops.min, "ReduceProd": ops.prod,
    "ReduceSumSquare": _squares, "ReduceL1": _absolute, "ReduceL2": _root, "ReduceLogSum": _log,
    "ReduceLogSumExp": _log_exp,
}  # fmt: skip
for _name, _function in _REDUCTIONS.items():
    operator(_name)(_reduced(_function))


def _place(function: Callable[[Value, int, bool], Value]) -> Callable[[Call], Value]:
    def computed(call: Call) -> Value:
        x = call.value(0)
        axis = call.axis(call.int("axis"), x.type.rank)
        keep = bool(call.int("keepdims", 1))
        if not call.int("select_last_index"):
            return function(x, axis, keep)
        length = x.shape[axis]
        if isinstance(length, Batch):
            raise call.error(f"the last place among the samples of {x.type}")
        return length - 1 - function(ops.flip(x, axis), axis, keep)

    return computed


operator("ArgMax")(_place(ops.argmax))
operator("ArgMin")(_place(ops.argmin))


@operator("LpNormalization")
def lp_normalization(call: Call) -> Operand:
    x, p = call.value(0), call.int("p", 2)
    axis = call.axis(call.int("axis", -1), x.type.rank)
    if p not in (1, 2):
        raise call.error(f"p={p}; 1 and 2 are computed")
    length = ops.norm(x, p, axis, True)
    return ops.where(ops.equal(length, 0.0), 0.0 * x, x / length)


@operator("MeanVarianceNormalization")
def mean_variance_normalization(call: Call) -> Operand:
    x = call.value(0)
    axes = tuple(call.axis(axis, x.type.rank) for axis in call.ints("axes") or [0, 2, 3])
    mean, variance = ops.moments(x, axes, keepdims=True)
    return (x - mean) / (ops.sqrt(variance) + 1e-9)


# Products of matrices


@operator("MatMul")
def matmul(call: Call) -> Operand:
    return ops.matmul(call.value(0), call.value(1))


@operator("Gemm")
def gemm(call: Call) -> Operand:
    """Return α · A B + β · C, where A, B and C are operands 0 to 2, and α and β are attributes.

    The attributes ``transA`` and ``transB`` transpose A and B. C may be omitted. Raises ``ModelFileError`` unless A and
    B are matrices.
    """
    a, b = call.value(0), call.value(1)
    alpha, beta = call.float("alpha", 1.0), call.float("beta", 1.0)
    if a.type.rank != 2 or b.type.rank != 2:
        raise call.error(f"expected two matrices, got {a.type} and {b.type}")
    if call.int("transA"):
        a = ops.transpose(a)
    y = ops.linear(a, b) if call.int("transB") else ops.matmul(a, b)
    y = y if alpha == 1 else y * alpha
    if not call.given(2) or beta == 0:
        return y
    c = call.value(2)
    return y + (c if beta == 1 else c * beta)
