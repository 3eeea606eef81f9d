"""Translations of reductions: sums, means, variances, extremes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from striate import ops
from striate.graph.value import Value
from striate.torch.operations.arithmetic import DTYPES
from striate.torch.table import require, translates


def _axes(dim: Any) -> Any:
    return tuple(dim) if isinstance(dim, Sequence) and len(dim) else None if isinstance(dim, Sequence) else dim


def _cast(input: Value, dtype: Any) -> Value:
    return input if dtype is None else ops.cast(input, DTYPES[dtype])


@translates("sum")
def _sum(input: Value, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Value:
    require(input.dtype.is_float or dtype is not None, "a sum of integers")
    return ops.sum(_cast(input, dtype), _axes(dim), keepdim)


@translates("mean")
def _mean(input: Value, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Value:
    return ops.mean(_cast(input, dtype), _axes(dim), keepdim)


def _correction(unbiased: Any, correction: Any) -> float:
    return float(unbiased) if correction is None else correction


@translates("var")
def _var(
    input: Value, dim: Any = None, unbiased: Any = True, keepdim: bool = False, *, correction: Any = None
) -> Value:
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    return ops.var(input, _axes(dim), _correction(unbiased, correction), keepdim)


@translates("std")
def _std(
    input: Value, dim: Any = None, unbiased: Any = True, keepdim: bool = False, *, correction: Any = None
) -> Value:
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    return ops.std(input, _axes(dim), _correction(unbiased, correction), keepdim)


@translates("amax")
def _amax(input: Value, dim: Any = (), keepdim: bool = False) -> Value:
    return ops.max(input, _axes(dim), keepdim)


@translates("amin")
def _amin(input: Value, dim: Any = (), keepdim: bool = False) -> Value:
    return ops.min(input, _axes(dim), keepdim)


@translates("max")
def _max(input: Value, *others: Any, **options: Any) -> Value:
    require(not options and all(isinstance(one, Value) for one in others), "max with indices")
    return ops.maximum(input, others[0]) if others else ops.max(input)


@translates("min")
def _min(input: Value, *others: Any, **options: Any) -> Value:
    require(not options and all(isinstance(one, Value) for one in others), "min with indices")
    return ops.minimum(input, others[0]) if others else ops.min(input)


@translates("argmax")
def _argmax(input: Value, dim: int | None = None, keepdim: bool = False) -> Value:
    return ops.argmax(input, dim, keepdim)


@translates("argmin")
def _argmin(input: Value, dim: int | None = None, keepdim: bool = False) -> Value:
    return ops.argmin(input, dim, keepdim)


@translates("prod")
def _prod(input: Value, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Value:
    require(input.dtype.is_float or dtype is not None, "a product of integers")
    return ops.prod(_cast(input, dtype), dim, keepdim)


@translates("logsumexp")
def _logsumexp(input: Value, dim: Any, keepdim: bool = False) -> Value:
    return ops.logsumexp(input, _axes(dim), keepdim)


_ORDERS = (0, 1, 2, math.inf, -math.inf, "fro")
"""The p of norms whose gradients are PyTorch's at vectors of zeros, too."""


@translates("norm")
def _norm(input: Value, p: Any = 2, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Value:
    require(p in _ORDERS and dtype is None, f"norm with p={p}")
    return ops.norm(input, 2 if p == "fro" else p, _axes(dim), keepdim)


@translates("var_mean")
def _var_mean(input: Value, *arguments: Any, **options: Any) -> tuple[Value, Value]:
    dim, keepdim = _mean_options(*arguments, **options)
    return _var(input, *arguments, **options), ops.mean(input, dim, keepdim)


@translates("std_mean")
def _std_mean(input: Value, *arguments: Any, **options: Any) -> tuple[Value, Value]:
    dim, keepdim = _mean_options(*arguments, **options)
    return _std(input, *arguments, **options), ops.mean(input, dim, keepdim)


def _mean_options(dim: Any = None, unbiased: Any = True, keepdim: bool = False, *, correction: Any = None) -> Any:
    return None if isinstance(dim, bool) else _axes(dim), keepdim


@translates("vector_norm", "linalg_vector_norm")
def _vector_norm(input: Value, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Value:
    return _norm(input, ord, dim, keepdim, dtype)


@translates("normalize")
def _normalize(input: Value, p: float = 2.0, dim: Any = 1, eps: float = 1e-12, out: Any = None) -> Value:
    require(out is None and p in _ORDERS, "normalize with out, or with this p")
    return ops.normalize(input, p, dim, eps)


@translates("cosine_similarity")
def _cosine_similarity(x1: Value, x2: Value, dim: int = 1, eps: float = 1e-8) -> Value:
    return ops.cosine_similarity(x1, x2, dim, eps)


@translates("pairwise_distance")
def _pairwise_distance(x1: Value, x2: Value, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Value:
    return ops.pairwise_distance(x1, x2, p, eps, keepdim)


@translates("any")
def _any(input: Value, dim: Any = None, keepdim: bool = False) -> Value:
    return ops.any(input, _axes(dim), keepdim)


@translates("all")
def _all(input: Value, dim: Any = None, keepdim: bool = False) -> Value:
    return ops.all(input, _axes(dim), keepdim)


@translates("softmax")
def _softmax(input: Value, dim: Any = None, _stacklevel: int = 3, dtype: Any = None) -> Value:
    require(dim is not None, "softmax without dim")
    return ops.softmax(_cast(input, dtype), dim)


@translates("log_softmax")
def _log_softmax(input: Value, dim: Any = None, _stacklevel: int = 3, dtype: Any = None) -> Value:
    require(dim is not None, "log_softmax without dim")
    return ops.log_softmax(_cast(input, dtype), dim)


@translates("softmin")
def _softmin(input: Value, dim: Any = None, _stacklevel: int = 3, dtype: Any = None) -> Value:
    require(dim is not None, "softmin without dim")
    return ops.softmin(_cast(input, dtype), dim)
