"""Run the node tests of the package onnx through the importer."""

from __future__ import annotations

import dataclasses
import functools
import os
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import striate as st
from striate.errors import StriateError
from striate.persistence.onnx.messages import ValueInfo, model_message
from striate.persistence.onnx.model import OnnxModel, known_operators
from striate.persistence.onnx.network import Network, checked
from striate.persistence.onnx.tensors import TensorReader

onnx: Any = pytest.importorskip("onnx", reason="onnx is not installed")

UNUSED = ValueInfo("unused input", 1, None)
NARROW = (np.float16, onnx.helper.tensor_dtype_to_np_dtype(onnx.TensorProto.BFLOAT16))


@functools.cache
def cases() -> tuple[Any, ...]:
    """Return all node tests, without those that read external data."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of NumPy, where the tests overflow on purpose
        return tuple(load_model_tests(kind="node"))


def model_of(case: Any) -> Any:
    """Return the model of a test."""
    if case.model is not None:
        return case.model
    return onnx.load(os.path.join(case.model_dir, "model.onnx"), load_external_data=False)


def outcome(case: Any) -> str | None:
    """Return None if a test passes, else what is wrong.

    The text begins with "operators: " if operators are not supported.
    """
    model = model_of(case)
    functions = {(function.domain, function.name) for function in model.functions}
    called = {(node.domain, node.op_type) for graph in (model.graph, *model.functions) for node in graph.node}
    absent = sorted(
        name for domain, name in called - functions if domain not in ("", "ai.onnx") or name not in known_operators()
    )
    if absent:
        return f"operators: {', '.join(absent)}"
    try:
        network = checked(model_message(memoryview(model.SerializeToString())), TensorReader(None), known_operators())
    except StriateError as error:
        if "the graph has no inputs" not in str(error):
            return str(error)
        one = onnx.ModelProto()
        one.CopyFrom(model)
        one.graph.input.append(onnx.helper.make_tensor_value_info(UNUSED.name, 1, [1]))
        network = checked(model_message(memoryview(one.SerializeToString())), TensorReader(None), known_operators())
    for inputs, outputs in case.data_sets:
        problem = _problem(network, inputs, outputs, case)
        if problem:
            return problem
    return None


def _problem(network: Network, inputs: Any, outputs: Any, case: Any) -> str | None:
    """Try all ways to supply the inputs; returns None if one succeeds, else the problem of the first."""
    first: str | None = None
    given = {one.name: _array(array) for one, array in zip(network.inputs, inputs)}
    for data in _ways(given):
        try:
            found = _run(network, given, data)
            for ours, theirs in zip(found, outputs, strict=True):
                _compare(ours, _array(theirs), case)
            return None
        except (AssertionError, StriateError, RecursionError, TypeError, ValueError) as error:
            first = first or f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return first


def _array(given: Any) -> np.ndarray:
    """Return a test's input as an array; some tests supply a TensorProto."""
    return onnx.numpy_helper.to_array(given) if isinstance(given, onnx.TensorProto) else np.asarray(given)


def _ways(given: dict[str, np.ndarray]) -> Iterator[set[str]]:
    """Yield the sets of inputs that are passed as data; the others are known constants during tracing."""
    seen: list[set[str]] = []
    for names in (
        {name for name, array in given.items() if array.dtype.kind in "fb" or array.dtype in NARROW},
        set(given),
        {name for name, array in given.items() if array.ndim and array.dtype.kind in "fb"},
        set(list(given)[:1]),
        set(),
    ):
        if names not in seen:
            seen.append(names)
            yield names


def _run(network: Network, given: dict[str, np.ndarray], data: set[str]) -> list[np.ndarray]:
    inputs = tuple(one for one in network.inputs if one.name in data) or (UNUSED,)
    constants = {name: _widened(array) for name, array in given.items() if name not in data}
    changed = dataclasses.replace(network, inputs=inputs, constants={**network.constants, **constants})
    arrays = [_widened(given[one.name]) if one is not UNUSED else np.zeros(1, np.float32) for one in inputs]
    model = OnnxModel(changed)
    if any(array.dtype == np.float64 for array in arrays):
        model.double()
    found = st.compile(lambda *values: model(*values))(*arrays)
    return list(found.values()) if isinstance(found, dict) else [found]


def _widened(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype in NARROW else array


def _compare(ours: np.ndarray, theirs: np.ndarray, case: Any) -> None:
    assert ours.shape == theirs.shape, f"shape {ours.shape}, expected {theirs.shape}"
    if theirs.dtype.kind in "biu":
        np.testing.assert_array_equal(ours, theirs)
        return
    half = theirs.dtype in NARROW
    np.testing.assert_allclose(
        ours.astype(np.float64),
        theirs.astype(np.float64),
        rtol=1e-2 if half else case.rtol,
        atol=1e-3 if half else max(case.atol, 1e-6),
    )
