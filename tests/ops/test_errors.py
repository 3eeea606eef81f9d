"""Arguments that operations refuse, with an error that says where and what to do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import striate.ops as ops
from striate.errors import DTypeError, LabelError, OptionError, ShapeError, StriateError
from striate.graph.graph import Input
from striate.graph.op import scope
from striate.graph.value import DType, N, Shape, TensorType, Value
from striate.nn import MultiMarginLoss
from striate.ops.label_loss import CrossEntropy
from striate.ops.normalization import batch_norm_with_statistics
from striate.ops.window import padding_pairs, per_axis
from striate.tracing import compile


def value(*shape: int | object, dtype: DType = DType.float32) -> Value:
    sizes: Shape = tuple(shape)  # type: ignore[assignment]
    return Input("x", TensorType(dtype, sizes))()


IMAGES, FILTERS = (N, 3, 8, 9), (4, 3, 3, 3)
BAD: dict[str, tuple[Callable[[], object], type[StriateError], str]] = {
    "kernel larger than the input": (
        lambda: ops.conv(value(N, 3, 2, 9), value(*FILTERS)),
        ShapeError,
        r"window of 3×3 is larger than the input of 2×9(.|\n)*help: use a smaller kernel",
    ),
    "channels last": (
        lambda: ops.conv(value(N, 8, 9, 3), value(*FILTERS)),
        ShapeError,
        r"3 channels, but its input has 8(.|\n)*on the last axis",
    ),
    "other channels": (lambda: ops.conv(value(N, 5, 8, 9), value(*FILTERS)), ShapeError, "in_channels=5"),
    "no channel axis": (lambda: ops.conv(value(8, 9), value(*FILTERS)), ShapeError, "with 2 spatial axes"),
    "rank of the filters": (lambda: ops.conv(value(*IMAGES), value(4, 3, 3)), ShapeError, "need an input"),
    "groups": (lambda: ops.conv(value(*IMAGES), value(4, 1, 3, 3), groups=2), ShapeError, "2 groups"),
    "zero groups": (lambda: ops.conv(value(*IMAGES), value(*FILTERS), groups=0), OptionError, "groups"),
    "integers": (
        lambda: ops.conv(value(*IMAGES, dtype=DType.uint8), value(*FILTERS)),
        DTypeError,
        r"got u8(.|\n)*cast",
    ),
    "mixed floats": (
        lambda: ops.conv(value(*IMAGES), value(*FILTERS, dtype=DType.float64)),
        DTypeError,
        "mixes dtypes",
    ),
    "bias": (lambda: ops.conv(value(*IMAGES), value(*FILTERS), value(3)), ShapeError, "each of the 4 channels"),
    "unknown padding": (
        lambda: ops.conv(value(*IMAGES), value(*FILTERS), padding="sane"),
        OptionError,
        r"did you mean 'same'(.|\n)*known: same, valid",
    ),
    "same with a stride": (
        lambda: ops.conv(value(*IMAGES), value(*FILTERS), padding="same", stride=2),
        OptionError,
        "stride 1",
    ),
    "stride of zero": (lambda: ops.conv(value(*IMAGES), value(*FILTERS), stride=0), OptionError, "at least 1"),
    "missing flatten": (lambda: ops.linear(value(*IMAGES), value(10, 216)), ShapeError, "Flatten"),
    "features": (
        lambda: ops.linear(value(N, 2048), value(10, 128)),
        ShapeError,
        r"2048 features(.|\n)*Linear\(None, 10\)",
    ),
    "one value per channel": (
        lambda: ops.batch_norm(value(1, 3), None, None, value(3), value(3), training=True),
        ShapeError,
        "one value per channel",
    ),
    "scale of another size": (
        lambda: ops.batch_norm(value(*IMAGES), None, None, value(4), value(4), training=True),
        ShapeError,
        "num_features=3",
    ),
    "pooling window": (lambda: ops.max_pool(value(*IMAGES), 10), ShapeError, "larger"),
    "pooling of padding": (lambda: ops.max_pool(value(*IMAGES), 2, padding=1, dilation=9), ShapeError, "only padding"),
    "much padding": (lambda: ops.max_pool(value(*IMAGES), 2, padding=3), OptionError, "more than half"),
    "pooling rank": (lambda: ops.max_pool(value(N, 3), 2), ShapeError, "spatial axes"),
    "concatenation": (lambda: ops.concat([value(*IMAGES), value(N, 3, 8, 8)]), ShapeError, "axis 1"),
    "concatenation of nothing": (lambda: ops.concat([]), ShapeError, "no values"),
    "stack of nothing": (lambda: ops.stack(()), ShapeError, "no values"),
    "concatenation of one array": (lambda: ops.concat(value(2, 3)), DTypeError, r"concat.*not a list of arrays"),
    "stack of one array": (lambda: ops.stack(value(2, 3)), DTypeError, r"stack.*not a list of arrays"),
    "concatenation of samples": (lambda: ops.concat([value(N, 3)], 0), ShapeError, "cannot join samples"),
    "concatenation of dtypes": (
        lambda: ops.concat([value(N, 3), value(N, 3, dtype=DType.float64)]),
        DTypeError,
        "one dtype, got f32(.|\n)*help: st.ops.cast",
    ),
    "limit that is NaN": (lambda: ops.clip(value(N, 3), float("nan")), OptionError, "min=nan; expected a number, ±inf"),
    "float labels": (lambda: ops.cross_entropy(value(N, 10), value(N)), DTypeError, "integers"),
    "one-hot labels": (
        lambda: ops.cross_entropy(value(N, 10), value(N, 10, dtype=DType.int64)),
        ShapeError,
        "argmax",
    ),
    "class weights": (
        lambda: ops.cross_entropy(value(N, 10), value(N, dtype=DType.int64), value(9)),
        ShapeError,
        "10 classes",
    ),
    "label smoothing": (
        lambda: ops.cross_entropy(value(N, 10), value(N, dtype=DType.int64), label_smoothing=2),
        OptionError,
        "label_smoothing",
    ),
    "reduction": (
        lambda: ops.mse_loss(value(N, 1), value(N, 1), reduction="average"),
        OptionError,
        "known: mean, sum, none",
    ),
    "differing targets": (lambda: ops.mse_loss(value(N, 1), value(N)), ShapeError, "differ"),
    "dropout": (lambda: ops.dropout(value(N, 3), value(dtype=DType.int64), 1.5), OptionError, "from 0 to 1"),
    "axis": (lambda: ops.sum(value(N, 3), 2), ShapeError, "axis 2"),
    "slope": (lambda: ops.leaky_relu(value(N, 3), float("nan")), OptionError, "finite"),
    "dtype": (lambda: ops.cast(value(N, 3), "float23"), OptionError, "float32"),
    "mode": (lambda: ops.pad(value(N, 3), (1, 1), mode="x"), OptionError, "^pad: unknown mode 'x'"),
    "axis of softmin": (lambda: ops.softmin(value(N, 3), "x"), OptionError, "^softmin: dim='x'; expected"),
    "halves of samples": (lambda: ops.glu(value(N, 3), 0), ShapeError, "^glu: cannot divide the samples"),
    "operand of a composition": (
        lambda: ops.reciprocal(value(2, 3, dtype=DType.int64)),
        DTypeError,
        r"^reciprocal: needs floating point numbers, got i64 \(2, 3\)",
    ),
    "options of the call": (
        lambda: ops.conv(value(*IMAGES), value(*FILTERS), None, 2, groups=2),
        ShapeError,
        r"^conv\(stride=2, groups=2\): ",
    ),
    "option that the function does not take": (
        lambda: MultiMarginLoss(weight=np.ones(2, np.float32))(np.ones((2, 3), np.float32), np.array([0, 2])),
        ShapeError,
        r"^at MultiMarginLoss\(weight=\(2,\)\): negative_log_likelihood: expected one weight",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_refusals(case: str) -> None:
    call, error, pattern = BAD[case]
    with pytest.raises(error, match=pattern):
        call()


def test_errors_name_the_layer() -> None:
    with scope("block1"), scope("conv2"), pytest.raises(ShapeError, match=r'at "block1.conv2" conv: '):
        ops.conv(value(N, 5, 8, 9), value(*FILTERS))


def test_a_batch_of_one_image_can_be_normalized() -> None:
    y, mean, variance = batch_norm_with_statistics(value(1, 3, 2, 1))
    assert (y.shape, mean.shape, variance.shape) == ((1, 3, 2, 1), (3,), (3,))
    assert batch_norm_with_statistics(value(N, 3))[0].shape == (N, 3)


def test_labels_out_of_range_are_named() -> None:
    with pytest.raises(LabelError, match=r"label 3 at index 1 is out of range: there are 3 classes"):
        CrossEntropy().reference(np.zeros((2, 3)), np.array([0, 3]))


def test_paddings() -> None:
    assert padding_pairs("same", (2, 3, 4), (1, 1, 1), (1, 2, 1)) == ((0, 1), (2, 2), (1, 2))
    assert padding_pairs("valid", (2,), (3,), (1,)) == ((0, 0),)
    assert padding_pairs((1, (2, 3)), (3, 3), (1, 1), (1, 1)) == ((1, 1), (2, 3))  # type: ignore[arg-type]
    for bad in ((1,), (1, -1), (1, 2, 3), (1, (1, 2, 3)), (0.5, 1)):
        with pytest.raises(OptionError):
            padding_pairs(bad, (3, 3), (1, 1), (1, 1))  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="whole numbers"):
        per_axis("stride", 1.5, 2)  # type: ignore[arg-type]
    assert per_axis("stride", np.int64(2), 3) == (2, 2, 2)


def test_operations_print_what_matters() -> None:
    x = value(N, 3, 32, 32)
    same = ops.conv(x, value(8, 3, 3, 3), padding=1)
    assert str(same.node.op) == "convolution(padding=1)"
    odd = ops.conv(x, value(8, 3, 3, 3), padding=((0, 1), (2, 2)), stride=(1, 2))
    assert str(odd.node.op) == "convolution(stride=(1, 2), padding=((0, 1), (2, 2)))"
    assert str(ops.max_pool(x, 2).node.op) == "max_pooling(stride=2, kernel=2)"


@pytest.mark.parametrize(
    "function",
    [
        lambda x: ops.max_pool(x, (2, 2)),
        lambda x: ops.avg_pool(x, (2, 2)),
    ],
)
def test_a_missing_channel_axis_is_named(function: Callable[[Value], Value]) -> None:
    with pytest.raises(ShapeError, match=r"N, 8, 8.*\n.*x\[:, None\]"):
        function(value(N, 8, 8))
    assert function(value(3, 8, 8)).shape == (3, 4, 4)  # one sample


def test_whole_numbers_are_not_asked_whether_they_are_finite() -> None:
    with pytest.raises(DTypeError, match="floating point"):
        ops.isfinite(value(2, 3, dtype=DType.int32))


def test_dropout_of_one_value_a_sample_draws_for_each_sample() -> None:
    x, key = np.ones(40, np.float32), np.asarray(7, np.int64)
    dropped = ops.dropout
    flat = compile(lambda x, key: dropped(x, key, 0.5))(x, key)
    column = compile(lambda x, key: dropped(x, key, 0.5))(x[:, None], key)
    np.testing.assert_array_equal(flat, column[:, 0])
    assert set(flat) == {0.0, 2.0}
