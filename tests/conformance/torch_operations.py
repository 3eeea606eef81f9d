"""Runs PyTorch's samples of its operations through ``st.ops``: values and gradients, against PyTorch itself."""

from __future__ import annotations

import functools
import inspect
import random
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import hypothesis
import numpy as np
import pytest

import striate as st
from striate.errors import OptionError, StriateError
from striate.graph.value import Value
from tests.conformance.torch_adapters import ADAPTERS

torch: Any = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("expecttest", reason="expecttest, which PyTorch's samples need, is not installed")
pytree: Any = pytest.importorskip("torch.utils._pytree")

BOOLEAN = ("all", "any", "logical_and", "logical_not", "logical_or", "logical_xor")


@contextmanager
def undisturbed() -> Iterator[None]:
    """PyTorch's test modules warn, and choose a profile of Hypothesis when they are imported."""
    profile = hypothesis.settings.get_current_profile_name()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            hypothesis.settings.load_profile(profile)


@functools.cache
def operations() -> dict[str, Any]:
    """PyTorch's descriptions of its operations, by name; variants have names of their own."""
    with undisturbed():
        from torch.testing._internal.common_methods_invocations import op_db
    return {one.formatted_name if one.variant_test_name else one.name: one for one in op_db}


def samples(name: str) -> list[Any]:
    """PyTorch's samples of an operation, the same ones every time."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    operation = operations()[name]
    dtype = torch.bool if name in BOOLEAN else torch.float64
    needs_gradient = dtype is torch.float64 and operation.supports_autograd
    with undisturbed():
        return list(operation.sample_inputs("cpu", dtype, requires_grad=needs_gradient))


def outcome(name: str, sample: Any, tolerance: float = 1e-9) -> str | None:
    """None for a sample that passes; else what is wrong, beginning with "refused: " for errors of striate."""
    call = Call(name, sample)
    try:
        call.bound()
        outputs, gradients = call.found()
        assert len(outputs) == len(call.outputs), f"{len(outputs)} outputs, expected {len(call.outputs)}"
        for ours, theirs in zip((*outputs, *gradients), (*call.outputs, *call.gradients)):
            compare(ours, theirs.numpy(force=True), tolerance)
    except StriateError as error:
        return f"refused: {' '.join(str(error).split())}"
    except AssertionError as error:
        return f"different: {' '.join(str(error).split())[:300]}"
    return None


class Call:
    """One sample: what PyTorch computes, and the same call in striate.

    The loss is the sum of the differentiable outputs, each times weights, so that every element has another gradient.
    """

    def __init__(self, name: str, sample: Any) -> None:
        self._adapter = ADAPTERS[name]
        self._leaves, self._structure = pytree.tree_flatten((sample.input, sample.args, sample.kwargs))
        tensors = [leaf for leaf in self._leaves if isinstance(leaf, torch.Tensor)]
        self._arrays = [leaf.detach().clone().numpy() for leaf in tensors]  # batch norm writes its statistics
        self._needed = tuple(index for index, leaf in enumerate(tensors) if leaf.requires_grad)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = operations()[name].get_op()(sample.input, *sample.args, **sample.kwargs)
        self.outputs = [leaf for leaf in pytree.tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self._weights = {
            index: np.linspace(-1, 1.5, output.numel()).reshape(output.shape)
            for index, output in enumerate(self.outputs)
            if output.requires_grad
        }
        self.gradients: list[Any] = []
        if self._weights:
            needed = [tensors[index] for index in self._needed]
            loss = sum((self.outputs[index] * torch.tensor(g)).sum() for index, g in self._weights.items())
            found = torch.autograd.grad(loss, needed, allow_unused=True)
            self.gradients = [torch.zeros_like(x) if dx is None else dx for x, dx in zip(needed, found)]

    def bound(self) -> None:
        """Refuses options that the function in striate does not have."""
        input, args, kwargs = pytree.tree_unflatten(self._leaves, self._structure)
        try:
            inspect.signature(self._adapter).bind(input, *args, **kwargs)
        except TypeError as error:
            raise OptionError(str(error)) from None

    def found(self) -> tuple[Sequence[np.ndarray], Sequence[np.ndarray]]:
        """The outputs and gradients in striate, by one compiled function."""
        if not self.gradients:
            return st.compile(lambda *values: self._applied(values))(*self._arrays), ()
        count = len(self._arrays)
        outputs: list[Value] = []

        def loss(*values: Value) -> Value:
            outputs[:] = self._applied(values[:count])
            terms: list[Value] = []
            for index, weight in zip(self._weights, values[count:]):
                assert outputs[index].shape == weight.shape, f"shape {outputs[index].shape}, expected {weight.shape}"
                terms.append(st.ops.sum(outputs[index] * weight))
            return functools.reduce(st.ops.add, terms)

        def both(*values: Value) -> Any:
            _, gradients = st.value_and_grad(loss, self._needed)(*values)
            return tuple(outputs), gradients

        return st.compile(both)(*self._arrays, *self._weights.values())

    def _applied(self, values: Sequence[Value]) -> tuple[Value, ...]:
        given = iter(values)
        leaves = [next(given) if isinstance(leaf, torch.Tensor) else leaf for leaf in self._leaves]
        input, args, kwargs = pytree.tree_unflatten(leaves, self._structure)
        found = self._adapter(input, *args, **kwargs)
        return tuple(found) if isinstance(found, tuple | list) else (found,)


def compare(ours: np.ndarray, theirs: np.ndarray, tolerance: float = 1e-9) -> None:
    assert ours.shape == theirs.shape, f"shape {ours.shape}, expected {theirs.shape}"
    if theirs.dtype.kind != "f":
        np.testing.assert_array_equal(ours, theirs)
        return
    assert ours.dtype == theirs.dtype, f"{ours.dtype}, expected {theirs.dtype}"
    finite = np.abs(theirs[np.isfinite(theirs)])
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance * max(1.0, float(finite.max(initial=0.0))))
