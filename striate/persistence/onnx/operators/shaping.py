"""Operators of ONNX that move elements, and reductions and products of matrices."""

from __future__ import annotations

import math
from collections.abc import Callable

from striate import ops
from striate.graph.value import Shape, Value
from striate.persistence.onnx.call import Call, Operand, Samples, dim_of, operator


@operator("Reshape")
def reshape(call: Call) -> Operand:
    """0 keeps a size and −1 is inferred; axis 0 stays N, also where the file has the number it was written for."""
    x = call.value(0)
    sizes = (call.ints("shape") or []) if call.opset < 5 else call.sizes(1)
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
    """Two axes: all before ``axis``, and all from it on."""
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


@operator("Concat")
def concat(call: Call) -> Operand:
    values = [call.value(place) for place in range(len(call.operands))]
    axis = call.axis(call.int("axis", 1), values[0].type.rank)
    if axis != 1:
        raise call.error(f"along axis {axis}; axis 1 is computed")
    return ops.concat(values)


@operator("Expand")
def expand(call: Call) -> Operand:
    x, sizes = call.value(0), call.sizes(1)
    rank = max(len(sizes), x.type.rank)
    wanted = [1] * (rank - len(sizes)) + sizes
    own = (*(1,) * (rank - x.type.rank), *x.shape)
    shape = tuple(dim_of(size) if size != 1 else dim for size, dim in zip(wanted, own))
    return ops.broadcast_to(ops.reshape(x, own), shape)


# Reductions


def _reduced(call: Call, function: Callable[..., Value]) -> Value:
    x, axes = call.value(0), call.axes(1)
    if not axes and call.int("noop_with_empty_axes"):
        return x
    keep = bool(call.int("keepdims", 1))
    chosen = tuple(call.axis(axis, x.type.rank) for axis in axes) if axes else tuple(range(x.type.rank))
    return function(x, chosen, keep)


for _name, _function in {
    "ReduceSum": ops.sum, "ReduceMean": ops.mean, "ReduceMax": ops.max,
    "ReduceSumSquare": lambda x, axes, keep: ops.sum(x * x, axes, keep),
    "ReduceL1": lambda x, axes, keep: ops.sum(abs(x), axes, keep),
    "ReduceL2": lambda x, axes, keep: ops.sqrt(ops.sum(x * x, axes, keep)),
    "ReduceLogSum": lambda x, axes, keep: ops.log(ops.sum(x, axes, keep)),
    "ReduceMin": lambda x, axes, keep: -ops.max(-x, axes, keep),
}.items():  # fmt: skip
    operator(_name)(lambda call, function=_function: _reduced(call, function))


# Products of matrices


@operator("Gemm")
def gemm(call: Call) -> Operand:
    """y = α · A B + β · C, where A and B may be transposed."""
    a, b = call.value(0), call.value(1)
    alpha, beta = call.float("alpha", 1.0), call.float("beta", 1.0)
    if call.int("transA"):
        raise call.error("its first operand is transposed, which is not computed")
    if not call.int("transB"):
        raise call.error("its second operand is not transposed, which is not computed")
    y = ops.linear(a, b)
    y = y if alpha == 1 else y * alpha
    if not call.given(2):
        return y
    c = call.value(2)
    return y + (c if beta == 1 else c * beta)
