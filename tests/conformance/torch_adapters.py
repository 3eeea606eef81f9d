"""How a call of PyTorch is written in striate: the name in ``op_db`` → a function of PyTorch's arguments.

The arguments are those of a sample, with values in the place of tensors. What a function here does not take, striate
does not have.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from striate import ops
from striate.errors import OptionError
from striate.graph.value import Value

Adapter = Callable[..., Any]


def _axes(dim: Any) -> Any:
    """PyTorch reads no axes as all."""
    return None if dim is None or dim == [] or dim == () else tuple(dim) if isinstance(dim, list) else dim


def _reduction(function: Adapter) -> Adapter:
    return lambda x, dim=None, keepdim=False: function(x, _axes(dim), keepdims=keepdim)


def _prod(x: Value, dim: int | None = None, keepdim: bool = False, dtype: object = None) -> Value:
    return ops.prod(_cast(x, dtype), dim, keepdims=keepdim)


def _spread(function: Adapter) -> Adapter:
    """var and std: the second positional argument is a bool, unbiased, or the axes."""

    def adapter(
        x: Value, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: float | None = 1
    ) -> Value:
        if isinstance(dim, bool):
            dim, unbiased = None, dim
        correction = 1 if correction is None else correction
        return function(x, _axes(dim), correction=correction if unbiased else 0, keepdims=keepdim)

    return adapter


def _with_mean(function: Adapter) -> Adapter:
    def adapter(x: Value, dim: Any = None, unbiased: bool = True, keepdim: bool = False, **options: Any) -> Any:
        if isinstance(dim, bool):
            dim, unbiased = None, dim
        return _spread(function)(x, dim, unbiased, keepdim, **options), ops.mean(x, _axes(dim), keepdims=keepdim)

    return adapter


def _extreme(value: Adapter, place: Adapter) -> Adapter:
    return lambda x, dim, keepdim=False: (value(x, dim, keepdims=keepdim), place(x, dim, keepdims=keepdim))


def _add(a: Any, b: Any, *, alpha: float = 1) -> Value:
    return ops.add(a, b if alpha == 1 else b * alpha)


def _subtract(a: Any, b: Any, *, alpha: float = 1) -> Value:
    return ops.subtract(a, b if alpha == 1 else b * alpha)


def _divide(a: Any, b: Any, *, rounding_mode: str | None = None) -> Value:
    rounded = {None: ops.divide, "floor": ops.floor_divide}
    return rounded[rounding_mode](a, b)


def _clamp(x: Value, min: Any = None, max: Any = None) -> Value:
    return ops.clip(x, min, max)


def _permuted(x: Value, *dims: Any) -> Value:
    return ops.permute(x, dims[0] if len(dims) == 1 and not isinstance(dims[0], int) else dims)


def _reshaped(x: Value, *shape: Any) -> Value:
    return ops.reshape(x, tuple(shape[0]) if len(shape) == 1 and not isinstance(shape[0], int) else shape)


def _expanded(x: Value, *sizes: Any) -> Value:
    return ops.expand(x, *(sizes[0] if len(sizes) == 1 and not isinstance(sizes[0], int) else sizes))


def _repeated(x: Value, *sizes: Any) -> Value:
    sizes = tuple(sizes[0]) if len(sizes) == 1 and not isinstance(sizes[0], int) else sizes
    if len(sizes) < len(x.shape):
        raise TypeError("torch.Tensor.repeat takes at least as many sizes as there are axes")
    return ops.tile(x, sizes)


def _flip(x: Value, dims: Any) -> Value:
    return ops.flip(x, dims) if dims else x


def _roll(x: Value, shifts: Any, dims: Any = None) -> Value:
    if dims is None or dims == ():
        (shift,) = shifts if isinstance(shifts, tuple) else (shifts,)
        return ops.reshape(ops.roll(ops.reshape(x, (-1,)), shift, 0), x.shape)
    return ops.roll(x, shifts, dims)


def _narrow(x: Value, dim: int, start: Any, length: int) -> Value:
    start = int(start)
    size = int(x.shape[dim])
    return ops.take(
        x, range(start % size if start < 0 else start, (start % size if start < 0 else start) + length), dim
    )


def _slice(x: Value, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Value:
    return x[(*([slice(None)] * (dim % len(x.shape))), slice(start, end, step))]


def _select(x: Value, dim: int, index: int) -> Value:
    return x[(*([slice(None)] * (dim % len(x.shape))), index)]


def _conv(x: Value, weight: Value, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
          groups: int = 1) -> Value:  # fmt: skip
    return ops.conv(x, weight, bias, _one(stride), _one(padding), _one(dilation), groups)


def _conv_transpose(x: Value, weight: Value, bias: Any = None, stride: Any = 1, padding: Any = 0,
                    output_padding: Any = 0, groups: int = 1, dilation: Any = 1) -> Value:  # fmt: skip
    return ops.conv_transpose(
        x, weight, bias, _one(stride), _one(padding), _one(output_padding), groups, _one(dilation)
    )


def _one(option: Any) -> Any:
    """PyTorch takes one number in a list for all axes."""
    return option[0] if isinstance(option, tuple | list) and len(option) == 1 else option


def _per_axis(option: Any, rank: int) -> Any:
    """One number for all axes, as a tuple: a rankless function reads the rank of an unbatched input from it."""
    option = _one(option)
    return option if option is None or isinstance(option, tuple | list) else (option,) * rank


def _no_places(return_indices: bool) -> None:
    if return_indices:
        raise OptionError("return_indices: the places of the maxima are not an output")


def _max_pool(rank: int) -> Adapter:
    def adapter(x: Value, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
                ceil_mode: bool = False, return_indices: bool = False) -> Value:  # fmt: skip
        _no_places(return_indices)
        kernel = _per_axis(kernel_size, rank)
        return ops.max_pool(x, kernel, _one(stride or None), _one(padding), _one(dilation), ceil_mode)

    return adapter


def _avg_pool(rank: int) -> Adapter:
    def adapter(x: Value, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
                count_include_pad: bool = True, divisor_override: int | None = None) -> Value:  # fmt: skip
        kernel = _per_axis(kernel_size, rank)
        return ops.avg_pool(
            x, kernel, _one(stride or None), _one(padding), ceil_mode, count_include_pad, divisor_override
        )

    return adapter


def _adaptive_max_pool(rank: int) -> Adapter:
    def adapter(x: Value, output_size: Any, return_indices: bool = False) -> Value:
        _no_places(return_indices)
        return ops.adaptive_max_pool(x, _per_axis(output_size, rank))

    return adapter


def _adaptive_avg_pool(rank: int) -> Adapter:
    return lambda x, output_size: ops.adaptive_avg_pool(x, _per_axis(output_size, rank))


def _upsampled(mode: str, align_corners: bool | None = None) -> Adapter:
    return lambda x, size=None, scale_factor=None: ops.interpolate(x, size, scale_factor, mode, align_corners)


def _batch_norm(x: Value, mean: Any, var: Any, weight: Any = None, bias: Any = None, training: bool = False,
                momentum: float = 0.1, eps: float = 1e-5) -> Value:  # fmt: skip
    return ops.batch_norm(x, mean, var, weight, bias, training, momentum, eps)


def _softmax(function: Adapter) -> Adapter:
    return lambda x, dim, dtype=None: function(_cast(x, dtype), dim)


def _cast(x: Value, dtype: object) -> Value:
    return x if dtype is None else ops.cast(x, str(dtype).removeprefix("torch."))


def _poisson_nll_loss(input: Value, target: Value, log_input: bool = True, full: bool = False, eps: float = 1e-8,
                      reduction: str = "mean") -> Value:  # fmt: skip
    return ops.poisson_nll_loss(input, target, log_input, full, eps, reduction=reduction)


def _normalize(x: Value, p: float = 2.0, dim: Any = 1, eps: float = 1e-12) -> Value:
    return x / ops.maximum(ops.norm(x, p, dim, keepdims=True), eps)


def _norm(x: Value, p: Any = 2, dim: Any = None, keepdim: bool = False) -> Value:
    return ops.norm(x, 2 if p in (None, "fro") else p, _axes(dim), keepdims=keepdim)


def _split(x: Value, sizes: Any, dim: int = 0) -> Any:
    return ops.split(x, sizes, dim)


def _concatenated(values: Any, dim: int = 0) -> Value:
    return ops.concat(values, dim)


def _two_axes(x: Value) -> Value:
    return ops.swapaxes(x, 0, 1) if len(x.shape) == 2 else x


def _same(x: Value) -> Value:
    return x


ADAPTERS: dict[str, Adapter] = {
    # arithmetic
    "add": _add, "sub": _subtract, "mul": ops.multiply, "true_divide": ops.divide, "div_no_rounding_mode": _divide,
    "div_floor_rounding": _divide, "floor_divide": ops.floor_divide, "remainder": ops.remainder,
    "__radd__": lambda x, a: a + x, "__rsub__": lambda x, a: a - x, "__rmul__": lambda x, a: a * x,
    "__rdiv__": lambda x, a: a / x, "__rmod__": lambda x, a: ops.remainder(a, x), "__rpow__": lambda x, a: a**x,
    "rsub": lambda x, a, alpha=1: _subtract(a, x, alpha=alpha),
    "neg": ops.negative, "positive": _same, "abs": ops.abs, "sign": ops.sign, "sgn": ops.sign, "pow": ops.power,
    "float_power": ops.power, "square": ops.square, "sqrt": ops.sqrt, "rsqrt": ops.rsqrt, "reciprocal": ops.reciprocal,
    "exp": ops.exp, "expm1": ops.expm1, "log": ops.log, "log1p": ops.log1p, "sin": ops.sin, "cos": ops.cos,
    "tan": ops.tan, "tanh": ops.tanh, "sigmoid": ops.sigmoid, "erf": ops.erf, "floor": ops.floor, "ceil": ops.ceil,
    "round": ops.round, "maximum": ops.maximum, "minimum": ops.minimum, "max_binary": ops.maximum,
    "min_binary": ops.minimum, "clamp": _clamp, "clamp_min": _clamp,
    "clamp_max": lambda x, max: ops.clip(x, None, max), "clone": lambda x, memory_format=None: x,
    "addcmul": lambda x, a, b, value=1: x + a * b * value, "addcdiv": lambda x, a, b, value=1: x + a / b * value,
    "lerp": lambda x, end, weight: x + weight * (end - x),
    "deg2rad": lambda x: x * (math.pi / 180), "rad2deg": lambda x: x * (180 / math.pi),
    # comparison
    "eq": ops.equal, "ne": ops.not_equal, "lt": ops.less, "le": ops.less_equal, "gt": ops.greater,
    "ge": ops.greater_equal, "logical_and": ops.logical_and, "logical_or": ops.logical_or,
    "logical_xor": ops.logical_xor, "logical_not": ops.logical_not, "isfinite": ops.isfinite, "isinf": ops.isinf,
    "isnan": ops.isnan, "where": lambda x, condition, other: ops.where(condition, x, other),
    "masked_fill": lambda x, mask, value: ops.where(mask, value, x),
    # reductions
    "sum": _reduction(ops.sum), "mean": _reduction(ops.mean), "prod": _prod,
    "amax": _reduction(ops.max), "amin": _reduction(ops.min), "all": _reduction(ops.all), "any": _reduction(ops.any),
    "max_reduction_no_dim": ops.max, "min_reduction_no_dim": ops.min, "logsumexp": _reduction(ops.logsumexp),
    "max_reduction_with_dim": _extreme(ops.max, ops.argmax), "min_reduction_with_dim": _extreme(ops.min, ops.argmin),
    "argmax": _reduction(ops.argmax), "argmin": _reduction(ops.argmin), "var": _spread(ops.var),
    "var_unbiased": _spread(ops.var), "std": _spread(ops.std), "std_unbiased": _spread(ops.std),
    "var_mean": _with_mean(ops.var), "var_mean_unbiased": _with_mean(ops.var), "std_mean": _with_mean(ops.std),
    "std_mean_unbiased": _with_mean(ops.std), "norm": _norm, "norm_fro": _norm, "norm_inf": _norm,
    "linalg.vector_norm": lambda x, ord=2, dim=None, keepdim=False: ops.norm(x, ord, _axes(dim), keepdims=keepdim),
    "nn.functional.normalize": _normalize,
    "aminmax": lambda x, dim=None, keepdim=False: (ops.min(x, dim, keepdim), ops.max(x, dim, keepdim)),
    # products
    "matmul": ops.matmul, "mm": ops.matmul, "mv": ops.matmul, "bmm": ops.matmul, "dot": ops.matmul,
    "vdot": ops.matmul, "__rmatmul__": lambda b, a: ops.matmul(a, b), "nn.functional.linear": ops.linear,
    "linalg.vecdot": lambda a, b, dim=-1: ops.sum(a * b, dim),
    "addmm": lambda c, a, b, beta=1, alpha=1: c * beta + ops.matmul(a, b) * alpha,
    "addmv": lambda c, a, b, beta=1, alpha=1: c * beta + ops.matmul(a, b) * alpha,
    "baddbmm": lambda c, a, b, beta=1, alpha=1: c * beta + ops.matmul(a, b) * alpha,
    # shapes
    "reshape": _reshaped, "view": _reshaped, "view_copy": _reshaped, "reshape_as": lambda x, y: ops.reshape(x, y.shape),
    "view_as": lambda x, y: ops.reshape(x, y.shape), "ravel": lambda x: ops.reshape(x, (-1,)),
    "flatten": lambda x, start_dim=0, end_dim=-1: ops.flatten(x, start_dim, end_dim), "unflatten": ops.unflatten,
    "squeeze": ops.squeeze, "squeeze_multiple": ops.squeeze, "squeeze_copy": ops.squeeze, "unsqueeze": ops.unsqueeze,
    "unsqueeze_copy": ops.unsqueeze, "transpose": ops.swapaxes, "transpose_copy": ops.swapaxes, "permute": _permuted,
    "permute_copy": _permuted, "movedim": ops.moveaxis, "t": _two_axes, "t_copy": _two_axes, "T": _two_axes,
    "mT": lambda x: ops.swapaxes(x, -1, -2), "broadcast_to": ops.broadcast_to, "expand": _expanded,
    "expand_copy": _expanded, "expand_as": lambda x, y: ops.broadcast_to(x, y.shape), "tile": ops.tile,
    "repeat": _repeated, "flip": _flip, "fliplr": lambda x: ops.flip(x, 1), "flipud": lambda x: ops.flip(x, 0),
    "roll": _roll, "cat": _concatenated, "stack": lambda values, dim=0: ops.stack(values, dim),
    "split": _split, "split_list_args": _split, "split_with_sizes": _split, "split_with_sizes_copy": _split,
    "unsafe_split": _split, "chunk": lambda x, chunks, dim=0: ops.chunk(x, chunks, dim),
    "unsafe_chunk": lambda x, chunks, dim=0: ops.chunk(x, chunks, dim), "unbind": lambda x, dim=0: ops.unbind(x, dim),
    "unbind_copy": lambda x, dim=0: ops.unbind(x, dim), "narrow": _narrow, "narrow_copy": _narrow, "slice": _slice,
    "select": _select, "__getitem__": lambda x, index: x[index],
    # convolution and pooling
    **{f"nn.functional.conv{rank}d": _conv for rank in (1, 2, 3)},
    **{f"nn.functional.conv_transpose{rank}d": _conv_transpose for rank in (1, 2, 3)},
    **{f"nn.functional.max_pool{rank}d": _max_pool(rank) for rank in (1, 2, 3)},
    **{f"nn.functional.avg_pool{rank}d": _avg_pool(rank) for rank in (1, 2, 3)},
    **{f"nn.functional.adaptive_avg_pool{rank}d": _adaptive_avg_pool(rank) for rank in (1, 2, 3)},
    **{f"nn.functional.adaptive_max_pool{rank}d": _adaptive_max_pool(rank) for rank in (1, 2, 3)},
    **{
        f"nn_functional_interpolate_{mode}": ops.interpolate
        for mode in ("nearest", "nearest-exact", "linear", "bilinear", "trilinear", "bicubic", "area")
    },
    "nn.functional.upsample_nearest": _upsampled("nearest"),
    "nn.functional.upsample_bilinear": _upsampled("bilinear", True),
    "nn.functional.pixel_shuffle": ops.pixel_shuffle, "nn.functional.pixel_unshuffle": ops.pixel_unshuffle,
    **{
        f"nn_functional_pad_{mode}": ops.pad
        for mode in ("constant", "reflect", "replicate", "replicate_negative", "circular")
    },
    "constant_pad_nd": lambda x, pad, value=0: ops.pad(x, pad, "constant", value),
    # normalization
    "nn.functional.batch_norm": _batch_norm, "nn_functional_batch_norm_without_cudnn": _batch_norm,
    "nn.functional.layer_norm": ops.layer_norm, "nn.functional.group_norm": ops.group_norm,
    "nn.functional.instance_norm": ops.instance_norm, "nn.functional.rms_norm": ops.rms_norm,
    "nn.functional.local_response_norm": ops.local_response_norm, "softmax": _softmax(ops.softmax),
    "softmax_with_dtype": _softmax(ops.softmax), "log_softmax": _softmax(ops.log_softmax),
    "log_softmax_with_dtype": _softmax(ops.log_softmax), "nn.functional.softmin": _softmax(ops.softmin),
    "nn_functional_softmin_with_dtype": _softmax(ops.softmin),
    # losses
    "nn.functional.poisson_nll_loss": _poisson_nll_loss,
    **{
        f"nn.functional.{name}": getattr(ops, name)
        for name in (
            "cross_entropy", "nll_loss", "multi_margin_loss", "binary_cross_entropy",
            "binary_cross_entropy_with_logits", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "kl_div",
            "soft_margin_loss", "multilabel_soft_margin_loss", "hinge_embedding_loss", "margin_ranking_loss",
            "gaussian_nll_loss",
        )
    },
    # activations
    **{
        f"nn.functional.{name}": getattr(ops, name)
        for name in (
            "relu", "leaky_relu", "prelu", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus", "softsign",
            "logsigmoid", "relu6", "hardtanh", "hardsigmoid", "hardswish", "hardshrink", "softshrink", "tanhshrink",
            "threshold", "glu",
        )
    },
}  # fmt: skip
