"""Reductions: sums, means, variances, extremes."""

from __future__ import annotations

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


@translates("norm", "vector_norm")
def _norm(input: Value, p: Any = 2, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Value:
    require(p in (1, 2, 2.0, "fro") and dtype is None, f"norm with p={p}")
    return ops.norm(input, 2 if p == "fro" else p, _axes(dim), keepdim)


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
