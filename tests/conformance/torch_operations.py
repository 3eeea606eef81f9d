"""Translate PyTorch's names and arguments of operations to ``st.ops``, for PyTorch's samples (``op_db``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import striate.ops as ops
from striate.graph.value import Value

Function = Callable[..., Any]


class RefusedError(Exception):
    """A PyTorch argument without a counterpart in striate, with the reason."""


def _without_dtype(options: dict[str, Any]) -> dict[str, Any]:
    if options.pop("dtype", None) is not None:
        raise RefusedError("results of another dtype are st.ops.cast")
    return options


def same(function: Function) -> Function:
    """Pass the arguments unchanged, and refuse ``dtype``."""
    return lambda *given, **options: function(*given, **_without_dtype(options))


def over_axes(function: Function, plain: Any = None) -> Function:
    """Translate ``dim`` and ``keepdim`` to axis and keepdims."""

    def adapted(x: Value, dim: Any = plain, keepdim: bool = False, **options: Any) -> Any:
        axis = tuple(dim) if isinstance(dim, list | tuple) and dim else None if isinstance(dim, list | tuple) else dim
        return function(x, axis, keepdims=keepdim, **_without_dtype(options))

    return adapted


def spread(function: Function) -> Function:
    """Translate ``unbiased`` of variance and standard deviation to a correction of 0 or 1."""

    def adapted(x: Value, dim: Any = None, unbiased: Any = None, keepdim: bool = False, correction: Any = None) -> Any:
        if isinstance(dim, bool):
            dim, unbiased = None, dim
        if correction is None:
            correction = 1 if unbiased is None or unbiased else 0
        axis = tuple(dim) if isinstance(dim, list | tuple) and dim else None if isinstance(dim, list | tuple) else dim
        return function(x, axis, correction, keepdim)

    return adapted


def scaled(function: Function) -> Function:
    """Multiply the second operand by ``alpha``."""
    return lambda a, b, alpha=1, **options: function(a, b if alpha == 1 else b * alpha, **options)


def sized(function: Function) -> Function:
    """Accept sizes as one sequence or as several numbers; −1 is inferred from the rest."""

    def adapted(x: Value, *sizes: Any) -> Any:
        shape = list(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], list | tuple) else list(sizes)
        if -1 in shape:
            known = 1
            for size in shape:
                known *= size if size != -1 else 1
            shape[shape.index(-1)] = x.type.size() // known if known else 0
        return function(x, tuple(shape))

    return adapted


def expanded(x: Value, *sizes: Any) -> Any:
    shape = list(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], list | tuple) else list(sizes)
    return ops.expand(x, *shape)


def parts(function: Function) -> Function:
    return lambda x, size, dim=0: function(x, size, dim)


def extreme(function: Function, place: Function, paired: Function) -> Function:
    """Translate max and min: of all elements, along an axis with the indices, or of two arrays."""

    def adapted(x: Value, dim: Any = None, keepdim: bool = False) -> Any:
        if isinstance(dim, Value):
            return paired(x, dim)
        if dim is None:
            return function(x)
        return function(x, dim, keepdims=keepdim), place(x, dim, keepdims=keepdim)

    return adapted


def narrowed(x: Value, dim: int, start: Any, length: int) -> Any:
    if isinstance(start, Value):
        raise RefusedError("places that are data are not indexed with")
    return ops.take(x, range(start, start + length), dim)


def selected(x: Value, dim: int, index: int) -> Any:
    return ops.squeeze(ops.take(x, [index], dim), dim)


def clipped(x: Any, min: Any = None, max: Any = None) -> Any:
    return ops.clip(x, min, max)


def chosen(a: Any, condition: Any, b: Any) -> Any:
    """Apply where to op_db's arguments, which are those of torch.Tensor.where(condition, other)."""
    return ops.where(condition, a, b)


def _tuple(thing: Any) -> Any:
    return tuple(thing) if isinstance(thing, list | tuple) else thing


def rolled(x: Value, shifts: Any = None, dims: Any = None) -> Any:
    if dims is None or dims == ():
        flat = ops.reshape(x, (x.type.size(),))
        return ops.reshape(ops.roll(flat, shifts if isinstance(shifts, int) else sum(shifts), 0), x.shape)
    return ops.roll(x, _tuple(shifts), _tuple(dims))


def moved_axes(x: Value, source: Any, destination: Any) -> Any:
    return ops.moveaxis(x, _tuple(source), _tuple(destination))


def vector_norm(x: Value, ord: Any = 2, dim: Any = None, keepdim: bool = False, **options: Any) -> Any:
    return over_axes(lambda x, axis, keepdims: ops.norm(x, ord, axis, keepdims))(x, dim, keepdim, **options)


def normalized(x: Any, mean: Any, variance: Any, weight: Any = None, bias: Any = None, **options: Any) -> Any:
    return ops.batch_norm(x, mean, variance, weight, bias, **options)


def pooled(function: Function, rank: int) -> Function:
    """Give one kernel size for each axis: PyTorch's name says how many there are."""

    def adapted(x: Any, kernel_size: Any, *given: Any, **options: Any) -> Any:
        sizes = tuple(kernel_size) if isinstance(kernel_size, list | tuple) else (kernel_size,)
        return function(x, sizes * rank if len(sizes) == 1 else sizes, *given, **options)

    return adapted


def adaptive(function: Function, rank: int) -> Function:
    def adapted(x: Any, output_size: Any, *given: Any, **options: Any) -> Any:
        sizes = tuple(output_size) if isinstance(output_size, list | tuple) else (output_size,)
        sizes = sizes * rank if len(sizes) == 1 else sizes
        return function(x, sizes, *given, **options)  # an int means the rank of the layer

    return adapted


def unpooled(rank: int) -> Function:
    """Give one kernel size for each axis; PyTorch's name says how many there are."""

    def adapted(x: Any, indices: Any, kernel_size: Any, *given: Any, **options: Any) -> Any:
        sizes = tuple(kernel_size) if isinstance(kernel_size, list | tuple) else (kernel_size,)
        return ops.max_unpool(x, indices, sizes * rank if len(sizes) == 1 else sizes, *given, **options)

    return adapted


def interpolated(
    x: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: Any = None, *more: Any,
    **options: Any,
) -> Any:  # fmt: skip
    return ops.interpolate(x, size, scale_factor, mode, align_corners, *more, **options)


def antialiased(x: Any, output_size: Any, align_corners: bool, *scales: Any, **options: Any) -> Any:
    """Apply interpolate to the arguments of PyTorch's kernel of antialiased bilinear interpolation."""
    size, factors = None if output_size is None else tuple(output_size), options.pop("scale_factors", None)
    if size is not None and any(scale is not None for scale in (*scales, *options.values())):
        raise RefusedError("sizes together with factors that differ from their ratio")
    return ops.interpolate(x, size, factors, "bilinear", align_corners, antialias=True)


_UNARY = (
    "abs", "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "square", "reciprocal", "sin", "cos", "tan", "erf", "floor",
    "ceil", "sign", "sigmoid", "tanh", "isfinite", "isinf", "isnan", "logical_not",
)  # fmt: skip
_ACTIVATIONS = (
    "relu", "leaky_relu", "prelu", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus", "softsign", "logsigmoid",
    "relu6", "hardtanh", "hardsigmoid", "hardswish", "hardshrink", "softshrink", "tanhshrink", "threshold", "glu",
    "linear", "layer_norm", "group_norm", "rms_norm", "local_response_norm", "instance_norm", "pixel_shuffle",
    "pixel_unshuffle", "pad",
)  # fmt: skip
_LOSSES = (
    "cross_entropy", "nll_loss", "multi_margin_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits",
    "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "kl_div", "soft_margin_loss", "multilabel_soft_margin_loss",
    "hinge_embedding_loss", "margin_ranking_loss", "poisson_nll_loss", "gaussian_nll_loss", "triplet_margin_loss",
    "cosine_embedding_loss", "multilabel_margin_loss",
)  # fmt: skip

TABLE: dict[str, Function] = {
    **{name: getattr(ops, name) for name in _UNARY},
    **{f"nn.functional.{name}": getattr(ops, name) for name in _ACTIVATIONS},
    **{f"nn.functional.{name}": getattr(ops, name) for name in _LOSSES},
    **{f"nn.functional.conv{rank}d": ops.conv for rank in (1, 2, 3)},
    **{f"nn.functional.conv_transpose{rank}d": ops.conv_transpose for rank in (1, 2, 3)},
    **{f"nn.functional.avg_pool{rank}d": pooled(ops.avg_pool, rank) for rank in (1, 2, 3)},
    **{f"nn.functional.max_pool{rank}d": pooled(ops.max_pool, rank) for rank in (1, 2, 3)},
    **{f"nn.functional.adaptive_avg_pool{rank}d": adaptive(ops.adaptive_avg_pool, rank) for rank in (1, 2, 3)},
    **{f"nn.functional.adaptive_max_pool{rank}d": adaptive(ops.adaptive_max_pool, rank) for rank in (1, 2, 3)},
    **{f"nn.functional.max_unpool{rank}d": unpooled(rank) for rank in (1, 2, 3)},
    "nn.functional.batch_norm": normalized, "nn.functional.interpolate": interpolated,
    "_upsample_bilinear2d_aa": antialiased,
    "nn.functional.softmin": same(ops.softmin), "softmax": same(ops.softmax), "log_softmax": same(ops.log_softmax),
    "neg": ops.negative, "add": scaled(ops.add), "sub": scaled(ops.subtract), "mul": ops.multiply,
    "div": ops.divide, "true_divide": ops.divide, "floor_divide": ops.floor_divide, "remainder": ops.remainder,
    "maximum": ops.maximum, "minimum": ops.minimum, "pow": ops.power, "clamp": clipped, "where": chosen,
    "gt": ops.greater, "ge": ops.greater_equal, "lt": ops.less, "le": ops.less_equal, "eq": ops.equal,
    "ne": ops.not_equal, "logical_and": ops.logical_and, "logical_or": ops.logical_or, "logical_xor": ops.logical_xor,
    "sum": over_axes(ops.sum), "mean": over_axes(ops.mean), "amax": over_axes(ops.max), "amin": over_axes(ops.min),
    "prod": over_axes(ops.prod), "logsumexp": over_axes(ops.logsumexp), "argmax": over_axes(ops.argmax),
    "argmin": over_axes(ops.argmin), "any": over_axes(ops.any), "all": over_axes(ops.all),
    "nn.functional.channel_shuffle": ops.channel_shuffle, "nn.functional.normalize": ops.normalize,
    "nn.functional.cosine_similarity": ops.cosine_similarity,
    "nn.functional.pairwise_distance": ops.pairwise_distance,
    "max": extreme(ops.max, ops.argmax, ops.maximum), "min": extreme(ops.min, ops.argmin, ops.minimum),
    "narrow": narrowed, "select": selected,
    "var": spread(ops.var), "std": spread(ops.std),
    "linalg.vector_norm": vector_norm,
    "reshape": sized(ops.reshape), "view": sized(ops.reshape), "expand": expanded,
    "broadcast_to": lambda x, shape: ops.expand(x, *shape),
    "flatten": lambda x, start_dim=0, end_dim=-1: ops.flatten(x, start_dim, end_dim),
    "unflatten": lambda x, dim, sizes: ops.unflatten(x, dim, sizes),
    "squeeze": lambda x, dim=None: ops.squeeze(x, tuple(dim) if isinstance(dim, list | tuple) else dim),
    "unsqueeze": ops.unsqueeze, "transpose": ops.swapaxes, "permute": ops.permute, "movedim": moved_axes,
    "cat": lambda values, dim=0: ops.concat(values, dim), "stack": lambda values, dim=0: ops.stack(values, dim),
    "split": parts(ops.split), "split_with_sizes": parts(ops.split), "chunk": parts(ops.chunk),
    "unbind": lambda x, dim=0: ops.unbind(x, dim), "flip": lambda x, dims: ops.flip(x, tuple(dims)), "roll": rolled,
    "tile": lambda x, dims: ops.tile(x, dims), "repeat": lambda x, sizes: ops.tile(x, sizes),
    "matmul": ops.matmul, "mm": ops.matmul, "bmm": ops.matmul, "mv": ops.matmul, "dot": ops.matmul,
}  # fmt: skip
"""Operation of PyTorch → the same in ``st.ops``."""
