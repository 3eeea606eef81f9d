"""Run PyTorch's samples of its operations through ``st.ops`` in float64, and compare values and gradients."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import striate as st
from striate.errors import StriateError
from striate.graph.value import Value
from tests.conformance.torch_imports import undisturbed
from tests.conformance.torch_operations import TABLE, RefusedError

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("expecttest", reason="expecttest is not installed")
UNKNOWN = (torch.complex64, torch.complex128, torch.float16, torch.bfloat16)


def operations() -> list[Any]:
    """Return PyTorch's descriptions of the operations that ``st.ops`` has."""
    with undisturbed():
        from torch.testing._internal.common_methods_invocations import op_db
    return [one for one in op_db if one.name in TABLE and torch.float64 in one.dtypes]


def samples(one: Any, most: int | None) -> Iterator[Any]:
    """Yield the first ``most`` samples of an operation (None: all), with gradients required where it has some."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, sample in enumerate(one.sample_inputs("cpu", torch.float64, requires_grad=one.supports_autograd)):
            if number == most:
                return
            yield sample


class Tensors:
    """Finds the tensors in nested arguments, replaces them by placeholders, and substitutes other values."""

    def __init__(self, sample: Any) -> None:
        self.found: list[Any] = []
        self.arguments = self._taken((sample.input, *sample.args))
        self.options = self._taken(dict(sample.kwargs))

    def _taken(self, thing: Any) -> Any:
        if isinstance(thing, torch.Tensor):
            self.found.append(thing)
            return Placeholder(len(self.found) - 1)
        if isinstance(thing, torch.Size):
            return tuple(thing)
        if isinstance(thing, list | tuple):
            return type(thing)(self._taken(one) for one in thing)
        if isinstance(thing, dict):
            return {name: self._taken(one) for name, one in thing.items()}
        return thing

    def given(self, thing: Any, values: Any) -> Any:
        if isinstance(thing, Placeholder):
            return values[thing.place]
        if isinstance(thing, list | tuple):
            return type(thing)(self.given(one, values) for one in thing)
        if isinstance(thing, dict):
            return {name: self.given(one, values) for name, one in thing.items()}
        return thing


class Placeholder:
    """The position of a tensor in the list of tensors."""

    def __init__(self, place: int) -> None:
        self.place = place


def listed(found: Any) -> list[Any]:
    return list(found) if isinstance(found, list | tuple) else [found]


def outcome(one: Any, sample: Any) -> str | None:
    """Return None if values and gradients agree, "refused: …" for an error of striate, else the difference."""
    tensors = Tensors(sample)
    if any(
        tensor.dtype in (torch.complex64, torch.complex128, torch.float16, torch.bfloat16) for tensor in tensors.found
    ):
        return "refused: RefusedError: complex and half precision are not computed with"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            expected = listed(one(sample.input, *sample.args, **sample.kwargs))
        except Exception as error:  # noqa: BLE001  a sample that PyTorch itself refuses here
            return f"refused: PyTorch: {error}"
    arrays = [tensor.detach().numpy() for tensor in tensors.found]
    function = TABLE[one.name]

    def applied(*values: Value) -> Any:
        return function(*tensors.given(tensors.arguments, values), **tensors.given(tensors.options, values))

    leaves = [
        place
        for place, tensor in enumerate(tensors.found)
        if tensor.requires_grad and tensor.dtype == torch.float64 and tensor.is_leaf
    ]
    try:
        found = listed(_computed(applied, arrays))
        problem = _differs(found, [tensor.detach().numpy() for tensor in expected])
        if problem or not one.supports_autograd or not leaves or not any(tensor.requires_grad for tensor in expected):
            return problem
        return _gradients(applied, arrays, leaves, tensors.found, expected)
    except (RefusedError, StriateError) as error:
        return f"refused: {type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _computed(function: Any, arrays: list[Any]) -> Any:
    if not arrays:
        raise RefusedError("no arrays")
    return st.compile(function)(*arrays)


def _gradients(
    function: Any, arrays: list[Any], leaves: list[int], tensors: list[Any], expected: list[Any]
) -> str | None:
    random = np.random.default_rng(0)
    weights = [random.standard_normal(tuple(tensor.shape)) for tensor in expected]
    parts = [(tensor * torch.from_numpy(np.asarray(weight))).sum() for tensor, weight in zip(expected, weights)]
    total = sum(part for part, tensor in zip(parts, expected) if tensor.requires_grad)
    theirs = torch.autograd.grad(total, [tensors[place] for place in leaves], allow_unused=True)
    used = [tensor.requires_grad for tensor in expected]

    def scalar(*values: Value) -> Value:
        parts = [st.ops.sum(one * weight) for one, weight, use in zip(listed(function(*values)), weights, used) if use]
        found = parts[0]
        for part in parts[1:]:
            found = found + part
        return found

    _, ours = st.value_and_grad(scalar, argnums=tuple(leaves))(*arrays)
    wanted = [np.zeros(arrays[place].shape) if one is None else one.numpy() for place, one in zip(leaves, theirs)]
    problem = _differs(list(ours), wanted)
    return problem and f"gradient: {problem}"


def _differs(ours: list[Any], theirs: list[Any]) -> str | None:
    if len(ours) != len(theirs):
        return f"{len(ours)} results, expected {len(theirs)}"
    for one, other in zip(ours, theirs):
        one = np.asarray(one)
        if one.shape != other.shape:
            return f"shape {one.shape}, expected {other.shape}"
        if not np.allclose(one, other, rtol=1e-7, atol=1e-9, equal_nan=True):
            difference = np.abs(one.astype(float) - other)
            return f"differs by {np.nanmax(difference):.3g} where the largest is {np.nanmax(np.abs(other)):.3g}"
    return None
