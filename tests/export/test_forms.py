"""The ONNX form of each operation, run by onnxruntime and compared with the operation's reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from striate.errors import OptionError, StriateError
from striate.graph.graph import Graph, Input
from striate.graph.op import Kind, Sample, registry
from striate.graph.value import Array, DType, N, TensorType, Value
from striate.persistence.document import FAMILIES

onnx: Any = pytest.importorskip("onnx", reason="onnx is not installed")
onnxruntime: Any = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
helper: Any = pytest.importorskip("onnx.helper")
ReferenceEvaluator: Any = pytest.importorskip("onnx.reference").ReferenceEvaluator
translate: Any = pytest.importorskip("striate.export.translate").translate

assert FAMILIES  # all operations are registered

WITHOUT = {
    "gradients occur in training only": ("Gradient", "MatMulSum"),
    "losses occur in training only": ("CrossEntropy", "NegativeLogLikelihood", "OneHot"),
    "norms of parameters are computed by the update only": ("SegmentSum",),
    "random numbers are drawn in training only": ("DropoutMask",),
    "a part of the expansion of ArgMax, which has a form of its own": ("Positions",),
}
"""Why operations have no form, and words of their names."""


def _excused(name: str) -> bool:
    return any(word in name for words in WITHOUT.values() for word in words)


def _cases() -> list[Any]:
    found: list[Any] = []
    for name, cls in sorted(registry().items()):
        if cls.kind is Kind.SOURCE or not cls.__module__.startswith(("striate.ops.", "striate.graph.")):
            continue
        for index, sample in enumerate(cls.samples(np.random.default_rng(0))):
            found.append(pytest.param(sample, id=f"{name}-{index}"))
    return found


NO_FORM = {
    "Unpooling": "sums of elements with equal indices, which occur in training only",
    "AveragePooling": "a divisor of one's own for incomplete windows",
}
"""Operations of which some options have no form."""


def _graph(sample: Sample) -> tuple[dict[str, Value], tuple[Value, ...], list[Array]]:
    """Return the graph of the operation on float32 inputs, with symbolic N if it accepts that."""
    arrays = [array.astype(np.float32) if array.dtype.kind == "f" else array for array in sample.arrays]
    fixed = [TensorType(DType[array.dtype.name], array.shape) for array in arrays]
    count = fixed[0].shape[:1]
    free = [type.with_shape((N, *type.shape[1:])) if type.shape[:1] == count and count else type for type in fixed]
    for types in ([free] if sample.batched else []) + [fixed]:
        inputs = {f"x{place}": Input(f"x{place}", type)() for place, type in enumerate(types)}
        try:
            found = sample.op(*inputs.values())
        except StriateError:
            continue  # an operand whose axis 0 only looks like that of samples
        return inputs, found if isinstance(found, tuple) else (found,), arrays
    raise AssertionError("no types fit")


@pytest.mark.parametrize("sample", _cases())
def test_the_form_computes_what_the_operation_does(sample: Sample) -> None:
    op = sample.op
    inputs, values, arrays = _graph(sample)
    computed = op.reference(*arrays)
    expected = computed if isinstance(computed, tuple) else (computed,)
    for value, ours in zip(values, expected):
        try:
            graph = translate(Graph(inputs, {"y": value}), {}, False, {})
        except OptionError as error:
            if "its output number 2 has no ONNX form" in str(error):
                continue  # such as the places of the maxima
            assert _excused(type(op).__name__) or type(op).__name__ in NO_FORM
            return
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        onnx.checker.check_model(model, full_check=True)
        needed = {one.name for one in model.graph.input}
        given = {name: array for name, array in zip(inputs, arrays) if name in needed}
        try:
            session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
            (theirs,) = session.run(None, given)
        except Exception:  # noqa: BLE001  onnxruntime does not compute every type
            (theirs,) = ReferenceEvaluator(model).run(None, given)
        assert theirs.dtype == ours.dtype
        long = max(arrays[0].shape, default=1) > 1000  # onnxruntime computes positions in float32
        np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-3 if long else 2e-5)
