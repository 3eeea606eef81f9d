"""Arrays of any layout, byte order and real dtype are converted by one rule wherever they enter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import striate as st
from striate import nn, optim
from striate.errors import DTypeError, LabelError
from striate.graph.array import native

SHAPE = (2, 3, 4, 5)
NUMBERS = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)


def misaligned(x: np.ndarray) -> np.ndarray:
    block = np.zeros(x.nbytes + 1, np.uint8)
    block[1:] = np.frombuffer(x.tobytes(), np.uint8)
    return block[1:].view(x.dtype).reshape(x.shape)


def read_only(x: np.ndarray) -> np.ndarray:
    copied = x.copy()
    copied.flags.writeable = False
    return copied


FORMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "transposed": lambda x: np.ascontiguousarray(x.transpose()).transpose(),
    "Fortran": np.asfortranarray,
    "negative strides": lambda x: np.ascontiguousarray(x[:, :, ::-1])[:, :, ::-1],
    "zero strides": lambda x: np.broadcast_to(x[:1], x.shape),
    "every other": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "big-endian": lambda x: x.astype(x.dtype.newbyteorder(">")),
    "read-only": read_only,
    "misaligned": misaligned,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arguments_and_closures(form: str, dtype: Any) -> None:
    x, c = NUMBERS.astype(dtype), FORMS[form]((NUMBERS * 2 + 1).astype(dtype))
    expected = x * c.astype(dtype)
    np.testing.assert_allclose(st.compile(lambda a: st.ops.multiply(a, c))(x), expected, rtol=1e-6)
    np.testing.assert_allclose(st.compile(lambda a, b: a * b)(x, c), expected, rtol=1e-6)
    np.testing.assert_allclose(st.ops.multiply(x, c), expected, rtol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_parameters_buffers_states_inputs_and_labels(form: str) -> None:
    make = FORMS[form]
    weight, x = NUMBERS[:, :, 0, 0], NUMBERS.reshape(-1, 3)
    model = nn.Sequential(nn.Linear(3, 2, bias=False))
    model.load_state_dict({"0.weight": make(NUMBERS)[:, :, 0, 0]})
    expected = x @ np.asarray(make(NUMBERS))[:, :, 0, 0].T
    np.testing.assert_allclose(model(x), expected, rtol=1e-4, atol=1e-6)
    layer: Any = model[0]
    layer.weight = make(NUMBERS)[:, :, 0, 0]
    np.testing.assert_allclose(model(x), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(nn.Parameter(make(NUMBERS)).initial, np.asarray(make(NUMBERS)))
    model.load_state_dict({"0.weight": weight})
    assert np.array_equal(
        model(make(NUMBERS).reshape(-1, 3)), model(np.ascontiguousarray(make(NUMBERS)).reshape(-1, 3))
    )
    labels = (np.arange(40) % 2).reshape(2, 1, 4, 5)
    given = make(np.broadcast_to(labels, (2, 3, 4, 5)).astype(np.int64))[:, 0, 0, 0]
    step = st.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
    same = st.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
    step.gradients(x[:2], given)
    same.gradients(x[:2], np.ascontiguousarray(given, np.int64))
    assert step.loss_value == same.loss_value


def test_memory_mapped_arrays(tmp_path: Path) -> None:
    mapped = np.memmap(tmp_path / "x", np.float32, "w+", shape=(3, 4))
    mapped[...] = np.arange(12).reshape(3, 4)
    np.testing.assert_allclose(st.compile(lambda a: a + mapped)(np.zeros((3, 4), np.float32)), mapped)
    np.testing.assert_allclose(st.ops.tanh(mapped), np.tanh(mapped), rtol=1e-5)


@pytest.mark.parametrize(
    ("given", "becomes"),
    [("float16", "float32"), ("int8", "int32"), ("uint16", "int32"), ("uint32", "int64")],
)
def test_narrow_types_are_widened(given: str, becomes: str) -> None:
    array = np.array([0, 1, 1], given)
    found = native(array, "x")
    assert found.dtype == becomes
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize(
    "array", [np.ones(2, complex), np.array(["a"]), np.array([None]), np.array([2**63], np.uint64)]
)
def test_what_holds_no_number_of_ours_is_refused_with_the_cure(array: np.ndarray) -> None:
    for call in (
        lambda: st.ops.tanh(array),
        lambda: nn.Parameter(array),
        lambda: st.compile(lambda a: a + array)(NUMBERS),
    ):
        with pytest.raises(DTypeError, match="help: "):
            call()
    with pytest.raises(DTypeError, match=r"help: x\.filled"):
        native(np.ma.masked_array([1.0, 2.0], [True, False]), "x")


def test_arrays_as_operands_inside_a_traced_function() -> None:
    logits, labels = NUMBERS[:, :, 0, 0], np.array([2, 0])
    traced = st.compile(lambda a: st.ops.cross_entropy(a, labels))(logits)
    np.testing.assert_allclose(traced, st.ops.cross_entropy(logits, labels), rtol=1e-6)
    filters = np.random.default_rng(1).standard_normal((6, 3, 3, 3))
    np.testing.assert_allclose(
        st.compile(lambda a: st.ops.conv(a, filters, padding=1))(NUMBERS),
        st.ops.conv(NUMBERS, filters.astype(np.float32), padding=1),
        rtol=1e-5,
    )
    mean, variance = np.array([1.0, 2, 3]), np.array([4.0, 5, 6])
    np.testing.assert_allclose(
        st.compile(lambda a: st.ops.batch_norm(a, mean, variance))(NUMBERS),
        (NUMBERS - mean.reshape(1, 3, 1, 1)) / np.sqrt(variance.reshape(1, 3, 1, 1) + 1e-5),
        rtol=1e-4,
    )
    np.testing.assert_allclose(st.compile(lambda a: st.ops.mse_loss(a, labels.reshape(2, 1) + logits * 0))(logits),
                               np.mean((logits - labels[:, None]) ** 2), rtol=1e-5)  # fmt: skip


@pytest.mark.parametrize("label", [-101, -1, 3, 2**40])
def test_labels_out_of_range_are_refused_everywhere(label: int) -> None:
    logits, labels = NUMBERS[:, :, 0, 0], np.array([1, label])
    model = nn.Sequential(nn.Linear(3, 3))
    calls: tuple[Callable[[], object], ...] = (
        lambda: st.ops.cross_entropy(logits, labels),
        lambda: st.compile(st.ops.cross_entropy)(logits, labels),
        lambda: st.compile(lambda a: st.ops.cross_entropy(a, labels))(logits),
        lambda: st.value_and_grad(st.ops.cross_entropy)(logits, labels),
        lambda: nn.CrossEntropyLoss()(logits, labels),
        lambda: st.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1))(logits, labels),
    )
    for call in calls:
        with pytest.raises(LabelError, match=rf"label {label} at index 1 is out of range: there are 3 classes, 0 … 2"):
            call()
    positions = np.zeros((2, 4, 5), np.int32)
    positions[1, 2, 3] = -1
    with pytest.raises(LabelError, match=r"label -1 at index \(1, 2, 3\)"):
        st.ops.cross_entropy(NUMBERS, positions)


def test_the_order_of_traces_does_not_mix_their_closures() -> None:
    inner = st.compile(lambda a: a * np.full(3, 2.0))
    np.testing.assert_allclose(st.compile(lambda a: inner(a) + np.arange(3.0))(np.ones(3)), 2 + np.arange(3.0))


def test_a_closure_inside_forward_is_the_same_in_the_file(tmp_path: Path) -> None:
    scale = np.asfortranarray(np.random.default_rng(2).standard_normal((3, 4, 5)))

    class Scaled(nn.Module):
        def forward(self, x: Any) -> Any:
            return x * scale

    model = Scaled()
    expected = NUMBERS * scale.astype(np.float32)
    np.testing.assert_allclose(model(NUMBERS), expected, rtol=1e-6)
    st.save(model, tmp_path / "model.safetensors")
    np.testing.assert_array_equal(st.load(tmp_path / "model.safetensors")(NUMBERS), model(NUMBERS))
