"""Translations of layers: convolutions, matrix products, poolings, normalizations, resampling."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from striate import ops
from striate.graph.value import Value
from striate.ops.normalization import batch_axes, batch_norm_with_statistics
from striate.ops.reduction import numel
from striate.torch.table import TRANSLATIONS, Context, require, translates, translates_with_context


def _ranked(name: str, function: Callable[..., Any]) -> None:
    """Register ``name`` with 1d, 2d and 3d in place of {}, for inputs of one sample or of a batch."""

    def of_rank(rank: int) -> Callable[..., Any]:
        def translation(input: Value, *arguments: Any, **options: Any) -> Any:
            require(input.ndim in (rank + 1, rank + 2), f"an input of {input.ndim} axes")
            if input.ndim == rank + 2:
                return function(rank, input, *arguments, **options)
            y = function(rank, ops.unsqueeze(input, 0), *arguments, **options)
            return tuple(ops.squeeze(one, 0) for one in y) if isinstance(y, tuple) else ops.squeeze(y, 0)

        return translation

    for rank in (1, 2, 3):
        TRANSLATIONS[name.format(rank)] = of_rank(rank)


def _per_axis(option: Any) -> Any:
    """Return an option as striate takes it: a number, or a tuple of numbers; a tuple of one number counts for all."""
    if isinstance(option, list | tuple):
        return option[0] if len(option) == 1 else tuple(option)
    return option


def _conv(
    rank: int, input: Value, weight: Value, bias: Value | None = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Value:  # fmt: skip
    return ops.conv(input, weight, bias, _per_axis(stride), _per_axis(padding), _per_axis(dilation), groups)


def _conv_transpose(
    rank: int, input: Value, weight: Value, bias: Value | None = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Value:  # fmt: skip
    stride, padding, output_padding = map(_per_axis, (stride, padding, output_padding))
    return ops.conv_transpose(input, weight, bias, stride, padding, output_padding, groups, _per_axis(dilation))


def _stride(stride: Any) -> Any:
    return None if stride is None or stride in ((), []) else _per_axis(stride)


def _max_pool(
    rank: int, input: Value, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Value | tuple[Value, Value]:  # fmt: skip
    kernel_size, padding, dilation = map(_per_axis, (kernel_size, padding, dilation))
    if return_indices:
        return ops.max_pool(input, kernel_size, _stride(stride), padding, dilation, ceil_mode, return_indices=True)
    return ops.max_pool(input, kernel_size, _stride(stride), padding, dilation, ceil_mode)


def _max_pool_with_indices(rank: int, input: Value, *options: Any, return_indices: bool = True, **named: Any) -> Any:
    return _max_pool(rank, input, *options[:5], return_indices=True, **named)


def _avg_pool(
    rank: int, input: Value, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Value:  # fmt: skip
    return ops.avg_pool(
        input, _per_axis(kernel_size), _stride(stride), _per_axis(padding), ceil_mode, count_include_pad,
        divisor_override,
    )  # fmt: skip


def _lp_pool(
    rank: int, input: Value, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Value:
    # As PyTorch composes it, so that gradients are NaN at the same places.
    taps = math.prod(kernel_size) if isinstance(kernel_size, list | tuple) else kernel_size**rank
    mean = ops.avg_pool(ops.power(input, norm_type), _per_axis(kernel_size), _stride(stride), 0, ceil_mode)
    return ops.power(ops.sign(mean) * ops.relu(ops.abs(mean)) * taps, 1 / norm_type)


def _adaptive_avg_pool(rank: int, input: Value, output_size: Any) -> Value:
    return ops.adaptive_avg_pool(input, _per_axis(output_size))


def _adaptive_max_pool(
    rank: int, input: Value, output_size: Any, return_indices: bool = False
) -> Value | tuple[Value, Value]:
    if return_indices:
        return ops.adaptive_max_pool(input, _per_axis(output_size), return_indices=True)
    return ops.adaptive_max_pool(input, _per_axis(output_size))


def _adaptive_max_pool_with_indices(rank: int, input: Value, output_size: Any, return_indices: bool = True) -> Any:
    return ops.adaptive_max_pool(input, _per_axis(output_size), return_indices=True)


_ranked("conv{}d", _conv)
_ranked("conv_transpose{}d", _conv_transpose)
_ranked("max_pool{}d", _max_pool)
_ranked("max_pool{}d_with_indices", _max_pool_with_indices)
_ranked("avg_pool{}d", _avg_pool)
_ranked("lp_pool{}d", _lp_pool)
_ranked("adaptive_avg_pool{}d", _adaptive_avg_pool)
_ranked("adaptive_max_pool{}d", _adaptive_max_pool)
_ranked("adaptive_max_pool{}d_with_indices", _adaptive_max_pool_with_indices)


def _max_unpool(rank: int) -> Callable[..., Value]:
    def translation(
        input: Value, indices: Value, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
    ) -> Value:
        kernel_size, padding = (_each_axis(one, rank) for one in (kernel_size, padding))
        size = None if output_size is None else tuple(output_size)
        stride = kernel_size if _stride(stride) is None else _each_axis(stride, rank)
        return ops.max_unpool(input, indices, kernel_size, stride, padding, size)

    return translation


def _each_axis(option: Any, rank: int) -> tuple[Any, ...]:
    """Return an option with one number for each of ``rank`` axes, so that it tells one sample from a batch."""
    numbers = tuple(option) if isinstance(option, list | tuple) else (option,)
    return numbers * rank if len(numbers) == 1 else numbers


for _rank in (1, 2, 3):
    TRANSLATIONS[f"max_unpool{_rank}d"] = _max_unpool(_rank)


@translates("linear")
def _linear(input: Value, weight: Value, bias: Value | None = None) -> Value:
    return ops.linear(input, weight, bias)


@translates("matmul", "mm", "bmm", "imatmul", "mv")
def _matmul(input: Value, other: Value) -> Value:
    return ops.matmul(input, other)


@translates("addmm", "baddbmm")
def _addmm(input: Value, mat1: Value, mat2: Value, *, beta: Any = 1, alpha: Any = 1) -> Value:
    product = ops.matmul(mat1, mat2)
    return (input if beta == 1 else input * beta) + (product if alpha == 1 else product * alpha)


@translates_with_context("batch_norm")
def _batch_norm(
    context: Context, input: Value, running_mean: Value | None, running_var: Value | None,
    weight: Value | None = None, bias: Value | None = None, training: bool = False, momentum: float = 0.1,
    eps: float = 1e-5, cudnn_enabled: bool = True,
) -> Value:  # fmt: skip
    if not training:
        return ops.batch_norm(input, running_mean, running_var, weight, bias, eps=eps)
    y, mean, variance = batch_norm_with_statistics(input, weight, bias, eps)
    if running_mean is not None and running_var is not None:
        require(isinstance(momentum, float), "batch normalization with a momentum that changes")
        count = numel(input, batch_axes(input.ndim))
        _track(context, running_mean, mean, momentum)
        _track(context, running_var, variance * (count / (count - 1.0)), momentum)
    return y


def _track(context: Context, running: Value, new: Value, momentum: float) -> None:
    context.update(running, running * (1.0 - momentum) + new * momentum)


@translates("instance_norm")
def _instance_norm(
    input: Value, running_mean: Value | None = None, running_var: Value | None = None, weight: Value | None = None,
    bias: Value | None = None, use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> Value:  # fmt: skip
    require(not use_input_stats or running_mean is None, "instance normalization with running statistics")
    return ops.instance_norm(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)


@translates("layer_norm")
def _layer_norm(
    input: Value, normalized_shape: Any, weight: Value | None = None, bias: Value | None = None, eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Value:  # fmt: skip
    return ops.layer_norm(input, tuple(normalized_shape), weight, bias, eps)


@translates("group_norm")
def _group_norm(
    input: Value, num_groups: int, weight: Value | None = None, bias: Value | None = None, eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> Value:  # fmt: skip
    return ops.group_norm(input, num_groups, weight, bias, eps)


@translates("rms_norm")
def _rms_norm(input: Value, normalized_shape: Any, weight: Value | None = None, eps: float | None = None) -> Value:
    return ops.rms_norm(input, tuple(normalized_shape), weight, eps)


@translates("local_response_norm")
def _local_response_norm(input: Value, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Value:
    return ops.local_response_norm(input, size, alpha, beta, k)


@translates("interpolate", "upsample")
def _interpolate(
    input: Value, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None, antialias: bool = False,
) -> Value:  # fmt: skip
    return ops.interpolate(input, size, scale_factor, mode, align_corners, recompute_scale_factor, antialias)
