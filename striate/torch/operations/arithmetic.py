"""Translations of elementwise functions: arithmetic, comparisons, activations and conversions of dtypes."""

from __future__ import annotations

from typing import Any

import torch

from striate import ops
from striate.graph.value import DType, Value
from striate.torch.table import TRANSLATIONS, Context, require, translates, translates_with_context

DTYPES = {
    torch.float32: DType.float32, torch.float64: DType.float64, torch.int32: DType.int32, torch.int64: DType.int64,
    torch.uint8: DType.uint8, torch.bool: DType.bool,
    torch.bfloat16: DType.float32,  # only within autocast, where values are computed in float32
}  # fmt: skip
"""The dtypes of values by the dtypes of tensors."""


def _of_one(name: str) -> None:
    function = getattr(ops, name)

    def translation(input: Value, inplace: bool = False) -> Value:
        return function(input)

    TRANSLATIONS[name] = translation


for _name in (
    "relu", "sigmoid", "tanh", "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "abs", "sign", "sin", "cos", "tan",
    "erf", "floor", "ceil", "round", "reciprocal", "square", "silu", "mish", "selu", "relu6", "softsign", "logsigmoid",
    "hardswish", "hardsigmoid", "tanhshrink", "isnan", "isinf", "isfinite", "logical_not", "negative",
):  # fmt: skip
    _of_one(_name)
for _alias, _name in {"neg": "negative", "absolute": "abs", "invert": "logical_not"}.items():
    TRANSLATIONS[_alias] = TRANSLATIONS[_name]


def _scaled(other: Any, alpha: Any) -> Any:
    return other if alpha == 1 else other * alpha


@translates("add", "iadd", "radd")
def _add(input: Any, other: Any, *, alpha: Any = 1) -> Value:
    return ops.add(input, _scaled(other, alpha))


@translates("sub", "isub", "subtract")
def _sub(input: Any, other: Any, *, alpha: Any = 1) -> Value:
    return ops.subtract(input, _scaled(other, alpha))


@translates("rsub")
def _rsub(input: Any, other: Any, *, alpha: Any = 1) -> Value:
    return ops.subtract(other, _scaled(input, alpha))


@translates("mul", "imul", "multiply")
def _mul(input: Any, other: Any) -> Value:
    return ops.multiply(input, other)


@translates("div", "divide", "truediv", "itruediv", "true_divide")
def _div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Value:
    require(rounding_mode is None, f"div with rounding_mode={rounding_mode}")
    require(_floats(input, other), "a quotient of integers")
    return ops.divide(input, other)


@translates("pow")
def _pow(input: Any, exponent: Any) -> Value:
    if not isinstance(exponent, Value) and exponent == 2:
        return ops.square(input)
    return ops.power(input, exponent)


@translates("maximum")
def _maximum(input: Value, other: Value) -> Value:
    return ops.maximum(input, other)


@translates("minimum")
def _minimum(input: Value, other: Value) -> Value:
    return ops.minimum(input, other)


@translates("clamp", "clip")
def _clamp(input: Value, min: Any = None, max: Any = None) -> Value:
    return ops.clip(input, min, max)


@translates("clamp_min")
def _clamp_min(input: Value, min: Any) -> Value:
    return ops.clip(input, min, None)


@translates("clamp_max")
def _clamp_max(input: Value, max: Any) -> Value:
    return ops.clip(input, None, max)


@translates("floor_divide", "floordiv", "ifloordiv")
def _floor_divide(input: Any, other: Any) -> Value:
    require(_floats(input, other), "a quotient of integers")
    return ops.floor_divide(input, other)


@translates("remainder", "mod", "imod")
def _remainder(input: Any, other: Any) -> Value:
    require(_floats(input, other), "a remainder of integers")
    return ops.remainder(input, other)


def _floats(*operands: Any) -> bool:
    return all(not isinstance(one, Value) or one.dtype.is_float for one in operands)


@translates("addcdiv")
def _addcdiv(input: Value, tensor1: Value, tensor2: Value, *, value: Any = 1) -> Value:
    require(_floats(tensor1, tensor2), "a quotient of integers")
    return input + _scaled(tensor1 / tensor2, value)


@translates("addcmul")
def _addcmul(input: Value, tensor1: Value, tensor2: Value, *, value: Any = 1) -> Value:
    return input + _scaled(tensor1 * tensor2, value)


@translates("lerp")
def _lerp(input: Value, end: Value, weight: Any) -> Value:
    return input + weight * (end - input)


def _comparison(names: str, function: Any) -> None:
    def translation(input: Any, other: Any) -> Value:
        return function(input, other)

    TRANSLATIONS.update(dict.fromkeys(names.split(), translation))


_comparison("eq", ops.equal)
_comparison("ne not_equal", ops.not_equal)
_comparison("gt greater", ops.greater)
_comparison("ge greater_equal", ops.greater_equal)
_comparison("lt less", ops.less)
_comparison("le less_equal", ops.less_equal)
_comparison("logical_and", ops.logical_and)
_comparison("logical_or", ops.logical_or)
_comparison("logical_xor", ops.logical_xor)


@translates("and_", "bitwise_and")
def _and(input: Value, other: Value) -> Value:
    return ops.logical_and(input, other)


@translates("or_", "bitwise_or")
def _or(input: Value, other: Value) -> Value:
    return ops.logical_or(input, other)


@translates("where")
def _where(condition: Value, input: Any, other: Any) -> Value:
    return ops.where(condition, input, other)


@translates("masked_fill")
def _masked_fill(input: Value, mask: Value, value: Any) -> Value:
    return ops.where(mask, value, input)


# Activations with options


@translates("leaky_relu")
def _leaky_relu(input: Value, negative_slope: float = 0.01, inplace: bool = False) -> Value:
    return ops.leaky_relu(input, negative_slope)


@translates("prelu")
def _prelu(input: Value, weight: Value) -> Value:
    return ops.prelu(input, weight)


@translates("elu")
def _elu(input: Value, alpha: float = 1.0, inplace: bool = False) -> Value:
    return ops.elu(input, alpha)


@translates("celu")
def _celu(input: Value, alpha: float = 1.0, inplace: bool = False) -> Value:
    return ops.celu(input, alpha)


@translates("gelu")
def _gelu(input: Value, approximate: str = "none") -> Value:
    return ops.gelu(input, approximate)


@translates("softplus")
def _softplus(input: Value, beta: float = 1.0, threshold: float = 20.0) -> Value:
    return ops.softplus(input, beta, threshold)


@translates("hardtanh")
def _hardtanh(input: Value, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Value:
    return ops.hardtanh(input, min_val, max_val)


@translates("hardshrink")
def _hardshrink(input: Value, lambd: float = 0.5) -> Value:
    return ops.hardshrink(input, lambd)


@translates("softshrink")
def _softshrink(input: Value, lambd: float = 0.5) -> Value:
    return ops.softshrink(input, lambd)


@translates("threshold")
def _threshold(input: Value, threshold: float, value: float, inplace: bool = False) -> Value:
    return ops.threshold(input, threshold, value)


@translates("glu")
def _glu(input: Value, dim: int = -1) -> Value:
    return ops.glu(input, dim)


# Copies and conversions


@translates("contiguous", "clone", "cpu")
def _same(input: Value, *, memory_format: object = None) -> Value:
    return input


@translates("positive", "pos")
def _positive(input: Value) -> Value:
    return input


@translates_with_context("detach")
def _detach(context: Context, input: Value) -> Value:
    return context.detach(input)


def _converted(input: Value, dtype: object) -> Value:
    require(isinstance(dtype, torch.dtype) and dtype in DTYPES, f"a conversion to {dtype}")
    return ops.cast(input, DTYPES[dtype])  # pyright: ignore[reportArgumentType]


@translates("to", "type")
def _to(input: Value, *targets: Any, **options: Any) -> Value:
    wanted = [*targets, *options.values()]
    dtypes = [one for one in wanted if isinstance(one, torch.dtype)]
    places = [one for one in wanted if isinstance(one, str | torch.device)]
    require(all(torch.device(one).type == "cpu" for one in places), "another device")
    return _converted(input, dtypes[0]) if dtypes else input


@translates("type_as")
def _type_as(input: Value, other: Value) -> Value:
    return ops.cast(input, other.dtype)


def _conversion(name: str, dtype: torch.dtype) -> None:
    def translation(input: Value) -> Value:
        return _converted(input, dtype)

    TRANSLATIONS[name] = translation


for _name, _dtype in {
    "float": torch.float32, "double": torch.float64, "long": torch.int64, "int": torch.int32, "bool": torch.bool,
    "bfloat16": torch.bfloat16,
}.items():  # fmt: skip
    _conversion(_name, _dtype)
