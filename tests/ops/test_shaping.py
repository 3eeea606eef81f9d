"""Shaping and indexing against NumPy and PyTorch: values, gradients, symbolic batch sizes, errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import striate
import striate.ops as ops
from striate.errors import OptionError, ShapeError, StriateError, TracingError
from striate.graph.graph import Graph, Input
from striate.graph.interpreter import interpret
from striate.graph.value import Array, DType, N, TensorType, Value, dtype_of
from striate.passes.differentiate import differentiate

quick = settings(max_examples=60)


def agree(ours: Callable[[Value], Any], theirs: Callable[[Any], Any], shape: tuple[int, ...]) -> None:
    """Compare values with NumPy's, for floats and integers; the gradient must be the transposed map."""
    for dtype in (np.float64, np.int64):
        x = np.arange(int(np.prod(shape)), dtype=dtype).reshape(shape)
        value = Input("x", TensorType(dtype_of(x.dtype), shape))()
        y = ours(value)
        expected = theirs(x)
        found = interpret(Graph({"x": value}, {"y": y}), {"x": x})[0]["y"]
        np.testing.assert_array_equal(found, expected)
        assert (y.type.concrete(0), found.dtype) == (expected.shape, x.dtype)
    value = Input("x", TensorType(DType.float64, shape))()
    y = ours(value)
    draw = np.random.default_rng(0).standard_normal(y.type.concrete(0))
    seed = Input("draw", y.type)()
    (dx,) = differentiate(ops.sum(y * seed) if y.shape else y * seed, [value])
    found = interpret(Graph({"x": value, "draw": seed}, {"dx": dx}), {"x": np.zeros(shape), "draw": draw})[0]["dx"]
    places = np.asarray(theirs(np.arange(int(np.prod(shape))).reshape(shape)))
    expected = np.zeros(int(np.prod(shape)))
    np.add.at(expected, places.ravel(), draw.ravel())
    np.testing.assert_allclose(found, expected.reshape(shape), rtol=1e-12, atol=1e-12)


CASES: dict[str, tuple[Callable[[Value], Any], Callable[[Any], Any], tuple[int, ...]]] = {
    "reshape": (lambda x: ops.reshape(x, (4, -1)), lambda x: x.reshape(4, -1), (2, 6, 3)),
    "reshape to one axis": (lambda x: ops.reshape(x, (-1,)), lambda x: x.reshape(-1), (2, 6, 3)),
    "flatten": (lambda x: ops.flatten(x, 1, 2), lambda x: x.reshape(2, 12, 5), (2, 3, 4, 5)),
    "flatten all": (lambda x: ops.flatten(x, 0), lambda x: x.reshape(-1), (2, 3, 4)),
    "unflatten": (lambda x: ops.unflatten(x, 1, (2, -1, 3)), lambda x: x.reshape(2, 2, 2, 3, 5), (2, 12, 5)),
    "squeeze": (ops.squeeze, np.squeeze, (1, 3, 1, 5, 1)),
    "squeeze some": (lambda x: ops.squeeze(x, (2, -1)), lambda x: x.squeeze((2, -1)), (1, 3, 1, 5, 1)),
    "unsqueeze": (lambda x: ops.unsqueeze(x, -2), lambda x: np.expand_dims(x, -2), (2, 3)),
    "transpose": (ops.transpose, np.transpose, (2, 3, 4)),
    "six axes": (
        lambda x: ops.permute(x, (0, 1, 4, 2, 5, 3)), lambda x: x.transpose(0, 1, 4, 2, 5, 3), (2, 3, 2, 2, 3, 4)
    ),
    "six axes, all moved": (
        lambda x: ops.permute(x, (5, 3, 1, 4, 2, 0)), lambda x: x.transpose(5, 3, 1, 4, 2, 0), (2, 3, 2, 2, 3, 4)
    ),
    "moveaxis": (lambda x: ops.moveaxis(x, 1, -1), lambda x: np.moveaxis(x, 1, -1), (2, 3, 4, 5)),
    "moveaxis, several": (
        lambda x: ops.moveaxis(x, (0, 1), (-1, -2)), lambda x: np.moveaxis(x, (0, 1), (-1, -2)), (2, 3, 4, 5)
    ),
    "swapaxes": (lambda x: ops.swapaxes(x, 0, 2), lambda x: np.swapaxes(x, 0, 2), (2, 3, 4)),
    "concat": (lambda x: ops.concat([x, x * 1], -1), lambda x: np.concatenate([x, x], -1), (2, 3, 4)),
    "concat of six axes": (lambda x: ops.concat([x, x], 3), lambda x: np.concatenate([x, x], 3), (1, 2, 1, 3, 2, 2)),
    "stack": (lambda x: ops.stack([x, x], -1), lambda x: np.stack([x, x], -1), (2, 3)),
    "split": (lambda x: ops.split(x, 2, 1)[2], lambda x: x[:, 4:], (2, 5, 3)),
    "split by sizes": (lambda x: ops.split(x, [1, 4], 1)[1], lambda x: x[:, 1:], (2, 5, 3)),
    "chunk": (lambda x: ops.chunk(x, 3, 0)[1], lambda x: x[2:4], (5, 3)),
    "unbind": (lambda x: ops.unbind(x, 1)[3], lambda x: x[:, 3], (2, 5, 3)),
    "take": (lambda x: ops.take(x, [4, 0, 1, 2, 0, 0], 1), lambda x: x.take([4, 0, 1, 2, 0, 0], 1), (2, 5, 3)),
    "flip": (ops.flip, np.flip, (2, 5, 3)),
    "flip one": (lambda x: ops.flip(x, 1), lambda x: np.flip(x, 1), (2, 5, 3)),
    "moveaxis, lists": (
        lambda x: ops.moveaxis(x, [0, 1], [-1, -2]), lambda x: np.moveaxis(x, [0, 1], [-1, -2]), (2, 3, 4, 5)
    ),
    "roll, lists": (lambda x: ops.roll(x, [1, 7], [0, 1]), lambda x: np.roll(x, [1, 7], [0, 1]), (2, 5, 3)),
    "roll": (lambda x: ops.roll(x, -2, 1), lambda x: np.roll(x, -2, 1), (2, 5, 3)),
    "roll two": (lambda x: ops.roll(x, (1, 7), (0, 1)), lambda x: np.roll(x, (1, 7), (0, 1)), (2, 5, 3)),
    "broadcast": (lambda x: ops.broadcast_to(x, (4, 2, 3)), lambda x: np.broadcast_to(x, (4, 2, 3)), (2, 1)),
    "broadcast of six axes": (
        lambda x: ops.broadcast_to(x, (2, 2, 3, 2, 2, 3)), lambda x: np.broadcast_to(x, (2, 2, 3, 2, 2, 3)),
        (1, 2, 1, 2, 1, 3),
    ),
    "expand": (lambda x: ops.expand(x, 4, -1, 3), lambda x: np.broadcast_to(x, (4, 2, 3)), (2, 1)),
    "tile": (lambda x: ops.tile(x, (2, 1, 3)), lambda x: np.tile(x, (2, 1, 3)), (2, 3)),
    "repeat": (lambda x: ops.repeat(x, 3, 1), lambda x: np.repeat(x, 3, 1), (2, 3, 2)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_numpy(name: str) -> None:
    agree(*CASES[name])


@quick
@given(st.data())
def test_any_index(data: Any) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=6)))
    keys: list[Any] = []
    for size in shape[: data.draw(st.integers(0, len(shape)))]:
        bound = st.none() | st.integers(-7, 7)
        step = st.none() | st.integers(-3, 3).filter(bool)
        one = data.draw(st.one_of(st.integers(-size, size - 1), st.builds(slice, bound, bound, step)))
        if isinstance(one, slice) and not len(range(*one.indices(size))):
            one = slice(None)
        keys.append(one)
    for _ in range(data.draw(st.integers(0, 2))):
        keys.insert(data.draw(st.integers(0, len(keys))), None)
    if data.draw(st.booleans()):
        keys.insert(data.draw(st.integers(0, len(keys))), Ellipsis)
    key = tuple(keys)
    agree(lambda x: x[key], lambda x: x[key], shape)


@quick
@given(st.data())
def test_any_order_of_axes(data: Any) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=7)))
    order = tuple(data.draw(st.permutations(range(len(shape)))))
    agree(lambda x: ops.transpose(x, order), lambda x: x.transpose(order), shape)


SIX: Array = np.random.default_rng(0).standard_normal((2, 3, 4, 2, 2, 5)).astype(np.float32)
COMPILED: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "windows": (
        lambda x: ops.permute(ops.reshape(x, (-1, 3, 2, 2, 4, 5)), (0, 2, 4, 3, 5, 1)) * 2.0 + 1.0,
        lambda x: x.reshape(-1, 3, 2, 2, 4, 5).transpose(0, 2, 4, 3, 5, 1) * 2 + 1,
    ),
    "channels last and back": (
        lambda x: ops.moveaxis(ops.tanh(ops.moveaxis(ops.reshape(x, (-1, 3, 16, 5)), 1, -1)), -1, 1),
        lambda x: np.tanh(x.reshape(-1, 3, 16, 5)),
    ),
    "broadcast between six axes": (
        lambda x: x + x[:, :, :1, :, :, :1] * x[:, :1],
        lambda x: x + x[:, :, :1, :, :, :1] * x[:, :1],
    ),
    "crops": (
        lambda x: ops.concat([x[:, ::-1, 1:3], x[:, :, :2] * 0.5], 2)[..., ::2, ::-2],
        lambda x: np.concatenate([x[:, ::-1, 1:3], x[:, :, :2] * 0.5], 2)[..., ::2, ::-2],
    ),
    "one sample's sum": (lambda x: ops.sum(x, (1, 2, 3, 4, 5)), lambda x: x.sum((1, 2, 3, 4, 5))),
    "sum over one of six axes": (lambda x: ops.sum(x, 3), lambda x: x.sum(3)),
}


@pytest.mark.parametrize("name", COMPILED)
@pytest.mark.parametrize("batched", [True, False])
def test_compiled(name: str, batched: bool) -> None:
    ours, theirs = COMPILED[name]
    compiled = striate.compile(ours, batched=batched)
    for n in (2, 1, 0) if batched else (2,):
        np.testing.assert_allclose(compiled(SIX[:n]), theirs(SIX[:n]), rtol=2e-6, atol=2e-6)


def value(*shape: object) -> Value:
    return Input("x", TensorType(DType.float32, shape))()  # type: ignore[arg-type]


def test_samples_stay_on_axis_0() -> None:
    x = value(N, 4, 6)
    assert ops.reshape(x, (-1, 24)).shape == (N, 24)
    assert ops.reshape(x, (N, 2, -1)).shape == (N, 2, 12)
    assert ops.transpose(x, (0, 2, 1)).shape == (N, 6, 4)
    assert x[:, 0].shape == (N, 6)
    assert x[..., 1:, None].shape == (N, 4, 5, 1)
    assert ops.unbind(x, -1)[0].shape == (N, 4)
    assert ops.squeeze(value(N, 1, 3)).shape == (N, 3)
    assert ops.tile(x, (2, 1)).shape == (N, 8, 6)
    assert ops.repeat(x, 3, 1).shape == (N, 12, 6)


MOVED: dict[str, Callable[[Value], object]] = {
    "reshape": lambda x: ops.reshape(x, (4, 6)),
    "reshape with -1": lambda x: ops.reshape(x, (-1, 4)),
    "reshape with -1 later": lambda x: ops.reshape(x, (4, -1)),
    "flatten": lambda x: ops.flatten(x, 0),
    "unflatten": lambda x: ops.unflatten(x, 0, (2, -1)),
    "unsqueeze": lambda x: ops.unsqueeze(x, 0),
    "transpose": ops.transpose,
    "swapaxes": lambda x: ops.swapaxes(x, 0, 1),
    "integer": lambda x: x[0],
    "slice": lambda x: x[1:],
    "None": lambda x: x[None],
    "flip": ops.flip,
    "roll": lambda x: ops.roll(x, 1, 0),
    "concat": lambda x: ops.concat([x, x], 0),
    "stack": lambda x: ops.stack([x, x]),
    "split": lambda x: ops.split(x, 2),
    "chunk": lambda x: ops.chunk(x, 2),
    "unbind": ops.unbind,
    "take": lambda x: ops.take(x, [0], 0),
    "tile": lambda x: ops.tile(x, (2, 1, 1)),
    "repeat": lambda x: ops.repeat(x, 2, 0),
    "T": lambda x: x.T,
}


@pytest.mark.parametrize("name", MOVED)
def test_moving_the_samples_is_refused(name: str) -> None:
    with pytest.raises(ShapeError, match=r"(samples|axis 0)(.|\n)*help: (.|\n)*batched=False"):
        MOVED[name](value(N, 4, 6))


BAD: dict[str, tuple[Callable[[Value], object], type[StriateError], str]] = {
    "sizes": (lambda x: ops.reshape(x, (5, 5)), ShapeError, r"differ in size(.|\n)*help"),
    "no -1 fits": (lambda x: ops.reshape(x, (5, -1)), ShapeError, r"-1(.|\n)*multiple of 5"),
    "two -1": (lambda x: ops.reshape(x, (-1, -1)), OptionError, "at most one"),
    "fraction": (lambda x: ops.reshape(x, (1.5, 4)), OptionError, "whole numbers"),  # type: ignore[arg-type]
    "place": (lambda x: x[:, 4], ShapeError, "place 4 does not exist on axis 1"),
    "too many": (lambda x: x[0, 0, 0, 0], ShapeError, "4 indices for 3 axes"),
    "two dots": (lambda x: x[..., ...], ShapeError, "more than one"),
    "traced index": (lambda x: x[x], TracingError, "static index"),
    "array index": (lambda x: x[np.array([True, False])], TracingError, "static index"),
    "bool index": (lambda x: x[True], TracingError, "static index"),
    "step": (lambda x: x[::0], OptionError, "step"),
    "two lists": (lambda x: x[[0], [1]], TracingError, "only one"),
    "axes": (lambda x: ops.transpose(x, (0, 1)), ShapeError, "not those of"),
    "axis": (lambda x: ops.flip(x, 3), ShapeError, "axis 3 does not exist"),
    "no axis": (lambda x: ops.flip(x, 1.5), OptionError, "whole number"),  # type: ignore[arg-type]
    "squeeze": (lambda x: ops.squeeze(x, 1), ShapeError, "does not have size 1"),
    "unflatten": (lambda x: ops.unflatten(x, 1, (3, -1)), ShapeError, "sizes with product 4"),
    "split": (lambda x: ops.split(x, [1, 1], 1), ShapeError, "add up to 2"),
    "stack": (lambda x: ops.stack([x, x[0]]), ShapeError, "differ"),
    "concat": (lambda x: ops.concat([x, x[:, :, 1:]], 1), ShapeError, "may differ only"),
    "broadcast": (lambda x: ops.broadcast_to(x, (2, 5, 6)), ShapeError, "cannot be repeated"),
    "repeats": (lambda x: ops.repeat(x, -1, 1), OptionError, "repeats"),
}


@pytest.mark.parametrize("name", BAD)
def test_refused(name: str) -> None:
    function, error, words = BAD[name]
    with pytest.raises(error, match=words):
        function(value(2, 4, 6))
