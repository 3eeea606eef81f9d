from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from striate import nn
from striate.data import Dataset
from striate.errors import OptionError
from striate.graph.value import DType, N, TensorType
from striate.insight import feature_maps, receptive_field, top_activations, top_activations_by_unit
from striate.insight.layers import Layers
from striate.tracing import Trace
from tests.insight.networks import SHAPE, chain, custom, picture


def strided() -> nn.Sequential:
    """Build a network with strides, dilation, asymmetric padding, ceil mode, concatenation and a residual."""
    return nn.Sequential({
        "a": nn.Conv2d(2, 3, (3, 2), stride=(2, 1), padding=(1, 0)),
        "b": nn.Conv2d(3, 3, 2, dilation=2, padding=1),
        "c": nn.Concat(nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 3, padding=1)),
        "d": nn.Residual(nn.Conv2d(4, 4, 3, padding=1)),
        "pool": nn.AvgPool2d(2, ceil_mode=True),
        "norm": nn.BatchNorm2d(4),
        "flat": nn.Flatten(),
    }).infer((2, 13, 11)).initialize(0).double()  # fmt: skip


def upwards() -> nn.Sequential:
    """Build a network with groups, replicated padding, and transposed convolutions that leave gaps."""
    return nn.Sequential({
        "a": nn.Conv2d(2, 4, 3, stride=3, padding=(2, 1), groups=2, padding_mode="reflect"),
        "b": nn.Conv2d(4, 4, 2, dilation=2, padding=2, groups=4, padding_mode="circular"),
        "up": nn.ConvTranspose2d(4, 2, 2, stride=(2, 3), padding=1, dilation=(2, 1), groups=2, output_padding=(1, 2)),
    }).infer((2, 13, 11)).initialize(0).double()  # fmt: skip


def moving() -> nn.Sequential:
    """Build a network with padding, resampling, adaptive averages, and channels moved to positions and back."""
    return nn.Sequential({
        "pad": nn.ReflectionPad2d((1, 0, 2, 3)),
        "crop": nn.ReplicationPad2d((-2, 1, 0, -3)),
        "linear": nn.Upsample((9, 11), mode="bilinear"),
        "ends": nn.Upsample((17, 5), mode="bilinear", align_corners=True),
        "nearest": nn.Upsample(scale_factor=(0.6, 2.0)),
        "adaptive": nn.AdaptiveAvgPool2d((7, 6)),
        "wide": nn.Conv2d(2, 4, 1),
        "shuffle": nn.PixelShuffle(2),
        "back": nn.PixelUnshuffle(2),
    }).infer((2, 13, 11)).initialize(0).double()  # fmt: skip


LAYERS = [(strided, layer) for layer in ("a", "b", "c", "c.0", "d", "pool", "norm")]
LAYERS += [(moving, layer) for layer in ("pad", "crop", "linear", "ends", "nearest", "adaptive", "shuffle", "back")]
LAYERS += [(upwards, layer) for layer in ("a", "b", "up")]


@pytest.mark.parametrize(
    ("make", "layer"),
    [pytest.param(*one, marks=() if number % 4 == 0 else pytest.mark.slow) for number, one in enumerate(LAYERS)],
)
def test_a_receptive_field_is_what_moves_the_unit_and_no_more(make: Callable[[], nn.Module], layer: str) -> None:
    model, shape = make(), (2, 13, 11)
    x = np.random.default_rng(0).standard_normal(shape)
    moved = np.repeat(x[np.newaxis], 143, axis=0)
    for number, (row, column) in enumerate(np.ndindex(13, 11)):
        moved[number, :, row, column] += 1.0
    before, after = feature_maps(model, x[np.newaxis], layer)[layer], feature_maps(model, moved, layer)[layer]
    changed = (np.abs(after - before) > 1e-9).any(axis=1).reshape(13, 11, *before.shape[2:])
    for position in np.ndindex(*before.shape[2:]):
        rows, columns = receptive_field(model, layer, shape, position)
        seen = changed[(slice(None), slice(None), *position)]
        outside = seen.copy()
        outside[rows, columns] = False
        assert not outside.any(), position
        if not seen.any():  # a transposed convolution may write nothing to a position
            assert rows.start == rows.stop or columns.start == columns.stop
            continue
        touched_rows, touched_columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
        assert (touched_rows[0], touched_rows[-1] + 1) == (rows.start, rows.stop)
        assert (touched_columns[0], touched_columns[-1] + 1) == (columns.start, columns.stop)


def test_what_mixes_positions_sees_everything() -> None:
    assert receptive_field(chain(), "fc", SHAPE, ()) == (slice(0, 7), slice(0, 6))
    assert receptive_field(custom(), "conv1", SHAPE, (0, 3)) == (slice(0, 2), slice(2, 5))
    assert receptive_field(custom(), "conv1", SHAPE) == (slice(2, 5), slice(2, 5))
    with pytest.raises(OptionError, match=r"\(9, 9\) does not exist"):
        receptive_field(custom(), "conv1", SHAPE, (9, 9))


def test_the_top_activations_are_those_of_a_recount() -> None:
    model = custom()
    dataset = Dataset(picture(count=150), np.arange(150) % 3, ("x", "y", "z"))
    maps = feature_maps(model, dataset.images, "conv1")["conv1"]
    for unit in (0, 3):
        best = maps[:, unit].reshape(150, -1)
        order = np.argsort(-best.max(axis=1), kind="stable")[:5]
        found = top_activations(model, "conv1", unit, dataset, 5)
        assert [one.index for one in found] == order.tolist()
        for one in found:
            assert one.value == best[one.index].max()
            assert one.position == np.unravel_index(best[one.index].argmax(), (7, 6))
            assert one.label == dataset.classes[one.index % 3]
            np.testing.assert_array_equal(one.patch, one.image[(slice(None), *one.region)])
    everything = top_activations_by_unit(model, "conv1", dataset, 5)
    assert [one.index for one in everything[3]] == [one.index for one in found]


def test_units_of_a_linear_layer_see_the_whole_picture() -> None:
    dataset = Dataset(picture(count=10), np.arange(10) % 3)
    found = top_activations(custom(), "fc", 1, dataset, 20)
    assert len(found) == 10
    np.testing.assert_array_equal(found[0].patch, found[0].image)
    with pytest.raises(OptionError, match=r"units 0 … 2"):
        top_activations(custom(), "fc", 3, dataset)
    with pytest.raises(OptionError, match="unknown layer"):
        top_activations(custom(), "fcc", 0, dataset)
    with pytest.raises(OptionError, match="count=0"):
        top_activations(custom(), "fc", 0, dataset, 0)


def test_layers_know_no_values_that_are_the_same_for_all_samples() -> None:
    model = chain()
    with Trace() as trace:
        layers = Layers(trace, model(trace.input("x", TensorType(DType.float64, (N, *SHAPE)))))
    assert all(value.type.batched for value in layers.values.values())
