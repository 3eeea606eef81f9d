"""Adaptive pooling, upsampling and pixel shuffle against PyTorch: values and gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import striate
from striate import nn, ops
from striate.errors import OptionError, ShapeError
from striate.graph.graph import Input
from striate.graph.value import DType, N, TensorType, Value
from striate.ops.interpolation import SMOOTH_MODES
from tests.ops.torch_judge import agree, torch

F = torch.nn.functional


quick = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
OF_RANK = {rank: next(name for name, count in SMOOTH_MODES.items() if count == rank) for rank in (1, 2, 3)}


def _image(data: Any, rank: int, most: int = 7, batch: bool = True) -> Any:
    sizes = [data.draw(st.integers(1, most if rank < 3 else 4)) for _ in range(rank)]
    return np.random.default_rng(0).standard_normal((*((2,) if batch else ()), 3, *sizes))


@quick
@given(st.data(), st.integers(1, 3), st.sampled_from(["avg", "max"]))
def test_adaptive_pooling(data: Any, rank: int, kind: str) -> None:
    x = _image(data, rank, batch=data.draw(st.booleans()))
    output = tuple(data.draw(st.one_of(st.integers(1, 9 if rank < 3 else 5), st.none())) for _ in range(rank))
    if rank == 1:  # PyTorch has no None for it
        output = (output[0] or 3,)
    theirs = getattr(F, f"adaptive_{kind}_pool{rank}d")
    agree(lambda x: getattr(ops, f"adaptive_{kind}_pool")(x, output), lambda x: theirs(x, output), x)


@quick
@given(st.data(), st.integers(1, 3), st.booleans())
def test_nearest(data: Any, rank: int, by_scale: bool) -> None:
    x = _image(data, rank)
    target = _target(data, x.shape[2:], by_scale)
    for size, scale in zip(x.shape[2:], target.get("scale_factor", ()), strict=False):
        # Here PyTorch's gradient and its channels-last form follow the sizes, but its usual form the scale factor.
        assume(int(size * scale) not in (size, 2 * size) or scale in (1, 2))
    agree(lambda x: ops.interpolate(x, **target), lambda x: F.interpolate(x, **target), x)


@quick
@given(st.data(), st.integers(1, 3), st.booleans(), st.booleans(), st.booleans())
def test_linear(data: Any, rank: int, by_scale: bool, align_corners: bool, again: bool) -> None:
    x = _image(data, rank)
    target = _target(data, x.shape[2:], by_scale)
    options = {**target, "mode": OF_RANK[rank], "align_corners": align_corners}
    if again and by_scale:
        options["recompute_scale_factor"] = True
    agree(lambda x: ops.interpolate(x, **options), lambda x: F.interpolate(x, **options), x)


def _target(data: Any, sizes: tuple[int, ...], by_scale: bool) -> dict[str, Any]:
    if not by_scale:
        return {"size": tuple(data.draw(st.integers(1, 12 if len(sizes) < 3 else 6)) for _ in sizes)}
    scales = tuple(data.draw(st.sampled_from([0.5, 0.7, 1.0, 1.3, 2.0, 2.5, 3.0])) for _ in sizes)
    return {"scale_factor": tuple(max(scale, 1 / size) for scale, size in zip(scales, sizes, strict=True))}


def test_the_middle_of_each_position() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 7))
    for size in ((10, 14), (3, 4), (11, 5)):
        agree(
            lambda x, size=size: ops.interpolate(x, size, mode="nearest-exact"),
            lambda x, size=size: F.interpolate(x, size, mode="nearest-exact"),
            x,
        )


@pytest.mark.parametrize(("mode", "antialias"), [("bicubic", False), ("bicubic", True), ("bilinear", True)])
def test_interpolation_by_matrices(mode: str, antialias: bool) -> None:
    random = np.random.default_rng(0)
    for shape, target in (
        ((2, 3, 5, 7), {"size": (8, 20)}), ((2, 3, 9, 7), {"size": (4, 3)}), ((3, 1, 2), {"scale_factor": (2.0, 2.5)}),
        ((2, 1, 4, 4), {"scale_factor": 1.3}), ((1, 2, 6, 5), {"scale_factor": 1.3, "recompute_scale_factor": True}),
    ):  # fmt: skip
        for aligned in (False, True):
            options: dict[str, Any] = {
                **target, "mode": mode, "align_corners": aligned, "antialias": antialias,
            }  # fmt: skip
            x = random.standard_normal(shape)
            tensor = torch.tensor(x, requires_grad=True)
            theirs = F.interpolate(tensor[None] if x.ndim == 3 else tensor, **options)
            c = random.standard_normal(tuple(theirs.shape))
            (theirs * torch.tensor(c)).sum().backward()

            def total(x: Any, o: Any = options, c: Any = c) -> Any:
                return striate.ops.sum(striate.ops.interpolate(x, **o) * c)

            value, dx = striate.value_and_grad(total)(x)
            np.testing.assert_allclose(value, (theirs.detach().numpy() * c).sum(), rtol=1e-9)
            np.testing.assert_allclose(dx, tensor.grad.numpy(), rtol=1e-9, atol=1e-12)


def test_areas() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 7))
    for target in ({"size": (3, 9)}, {"scale_factor": 0.6}):
        agree(
            lambda x, t=target: ops.interpolate(x, **t, mode="area"),
            lambda x, t=target: F.interpolate(x, **t, mode="area"),
            x,
        )


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_pixel_shuffle(factor: int) -> None:
    random = np.random.default_rng(0)
    for lead in ((2,), ()):
        x = random.standard_normal((*lead, 2 * factor**2, 3, 4))
        agree(lambda x: ops.pixel_shuffle(x, factor), lambda x: F.pixel_shuffle(x, factor), x)
        x = random.standard_normal((*lead, 2, 3 * factor, 4 * factor))
        agree(lambda x: ops.pixel_unshuffle(x, factor), lambda x: F.pixel_unshuffle(x, factor), x)


@quick
@given(st.data(), st.integers(1, 3), st.sampled_from([1, 2, 4, 1.5]), st.booleans())
def test_lp_pooling(data: Any, rank: int, p: float, ceil_mode: bool) -> None:
    x = _image(data, rank) if p != 1.5 else np.abs(_image(data, rank))
    kernel = tuple(data.draw(st.integers(1, size)) for size in x.shape[2:])
    stride = tuple(data.draw(st.integers(1, 3)) for _ in kernel)
    theirs = getattr(F, f"lp_pool{rank}d")
    arguments = (kernel, stride) if rank > 1 else (kernel[0], stride[0])
    agree(
        lambda x: ops.lp_pool(x, p, kernel, stride, ceil_mode), lambda x: theirs(x, float(p), *arguments, ceil_mode), x
    )


def test_lp_pooling_of_zeros_has_no_gradient() -> None:
    x = np.zeros((1, 1, 4))
    value, dx = striate.value_and_grad(lambda x: ops.sum(ops.lp_pool(x, 2, 2)))(x)
    assert value == 0
    np.testing.assert_array_equal(dx, 0)
    x[0, 0, 0] = np.nan
    assert np.isnan(striate.ops.lp_pool(x, 2, 2)[0, 0, 0])


SHAPES = {1: (2, 3, 12), 2: (2, 3, 12, 8), 3: (2, 3, 4, 6, 8)}
LAYERS: dict[str, tuple[Any, ...]] = {
    **{f"AdaptiveAvgPool{rank}d": (5,) for rank in SHAPES},
    **{f"AdaptiveMaxPool{rank}d": (3,) for rank in SHAPES},
    **{f"LPPool{rank}d": (2, 3) for rank in SHAPES},
    **{f"AvgPool{rank}d": (3, 2, 1, True, False) for rank in SHAPES},
    **{f"MaxPool{rank}d": (3, 2, 1, 1, False, True) for rank in SHAPES},
    "UpsamplingNearest2d": (None, 2), "UpsamplingBilinear2d": ((7, 9),), "PixelUnshuffle": (2,),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name: str) -> None:
    own, theirs = getattr(nn, name)(*LAYERS[name]), getattr(torch.nn, name)(*LAYERS[name])
    rank = int(name[-2]) if name.endswith("d") else 2
    x = np.random.default_rng(0).standard_normal(SHAPES[rank]).astype(np.float32)
    np.testing.assert_allclose(own(x), theirs(torch.tensor(x)).numpy(), rtol=2e-6, atol=2e-6)
    if not name.startswith("Upsampling"):  # which PyTorch has for batches only
        np.testing.assert_allclose(own(x[0]), theirs(torch.tensor(x[0])).numpy(), rtol=2e-6, atol=2e-6)


def test_more_options_of_layers() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 6, 8)).astype(np.float32)
    pairs: list[tuple[Any, Any]] = [
        (nn.AdaptiveAvgPool2d((None, 3)), torch.nn.AdaptiveAvgPool2d((None, 3))),
        (nn.AdaptiveMaxPool2d(1), torch.nn.AdaptiveMaxPool2d(1)),
        (nn.GlobalMaxPool(), torch.nn.AdaptiveMaxPool2d(1)),
        (nn.GlobalAveragePool(), torch.nn.AdaptiveAvgPool2d(1)),
        (nn.AvgPool2d(3, divisor_override=2), torch.nn.AvgPool2d(3, divisor_override=2)),
        (nn.Upsample(scale_factor=1.5), torch.nn.Upsample(scale_factor=1.5)),
        (
            nn.Upsample((7, 3), mode="bilinear", align_corners=True),
            torch.nn.Upsample((7, 3), mode="bilinear", align_corners=True),
        ),
        (nn.PixelUnshuffle(2), torch.nn.PixelUnshuffle(2)),
        (nn.Sequential(nn.PixelUnshuffle(2), nn.PixelShuffle(2)), torch.nn.Identity()),
    ]
    for own, theirs in pairs:
        np.testing.assert_allclose(own(x), theirs(torch.tensor(x)).numpy(), rtol=2e-6, atol=2e-6, err_msg=repr(own))


def test_in_a_network() -> None:
    """Elementwise operations before and after are fused; the gradients equal PyTorch's."""
    random = np.random.default_rng(0)
    x, w = random.standard_normal((2, 3, 6, 5)), random.standard_normal((17, 3, 3, 3))

    def own(x: Value, w: Value) -> Value:
        y = ops.relu(ops.conv(ops.pad(x, (1, 2, 0, 3), "reflect"), w))
        y = ops.tanh(ops.interpolate(y, scale_factor=2, mode="bilinear", align_corners=False))
        y = ops.relu(ops.adaptive_avg_pool(y, (3, 4)) + 0.1) * ops.adaptive_max_pool(y, (3, 4))
        return ops.sum(ops.interpolate(y, (5, 5)) ** 2)

    tensors = [torch.tensor(one, requires_grad=True) for one in (x, w)]
    y = F.relu(F.conv2d(F.pad(tensors[0], (1, 2, 0, 3), "reflect"), tensors[1]))
    y = torch.tanh(F.interpolate(y, scale_factor=2, mode="bilinear", align_corners=False))
    y = F.relu(F.adaptive_avg_pool2d(y, (3, 4)) + 0.1) * F.adaptive_max_pool2d(y, (3, 4))
    loss = (F.interpolate(y, (5, 5)) ** 2).sum()
    loss.backward()
    value, gradients = striate.value_and_grad(own, argnums=(0, 1))(x, w)
    np.testing.assert_allclose(value, loss.item(), rtol=1e-12)
    for got, tensor in zip(gradients, tensors, strict=True):
        np.testing.assert_allclose(got, tensor.grad.numpy(), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("ceil_mode", [False, True])
def test_ties_and_nan_in_maxima(ceil_mode: bool) -> None:
    """The first of several largest elements gets the gradient; NaN counts as the maximum of its window."""
    x = np.zeros((1, 1, 7))
    for function, theirs in (
        (lambda x: ops.max_pool(x, 3, 2, 1, 1, ceil_mode), lambda x: F.max_pool1d(x, 3, 2, 1, 1, ceil_mode)),
        (lambda x: ops.adaptive_max_pool(x, 3), lambda x: F.adaptive_max_pool1d(x, 3)),
        (lambda x: ops.global_max_pool(x), lambda x: F.adaptive_max_pool1d(x, 1)),
    ):
        agree(function, theirs, x)
        with_nan = x.copy()
        with_nan[0, 0, 2] = np.nan
        expected = theirs(torch.tensor(with_nan)).numpy()
        np.testing.assert_array_equal(striate.compile(function)(with_nan), expected)


def _value(*shape: Any) -> Value:
    return Input("x", TensorType(DType.float32, shape))()


@pytest.mark.parametrize(
    ("function", "error", "text"),
    [
        (lambda: ops.adaptive_avg_pool(_value(N, 3), 2), ShapeError, "spatial axes"),
        (lambda: ops.adaptive_avg_pool(_value(N, 3, 4, 4), (2, 2, 2)), OptionError, "output_size must be"),
        (lambda: ops.adaptive_max_pool(_value(N, 3, 4, 4), -1), OptionError, "output_size=-1"),
        (lambda: ops.adaptive_max_pool(_value(N, 3, 4, 4), 2.0), OptionError, "output_size=2.0"),
        (lambda: ops.adaptive_max_pool(_value(N, 3, 0), 2), ShapeError, "no positions"),
        (lambda: ops.global_max_pool(_value(N, 3)), ShapeError, "spatial axes"),
        (lambda: ops.interpolate(_value(N, 3, 4)), OptionError, "either size or scale_factor"),
        (lambda: ops.interpolate(_value(N, 3, 4), 2, 2.0), OptionError, "either size or scale_factor"),
        (lambda: ops.interpolate(_value(N, 3, 4), 0), OptionError, "at least 1"),
        (lambda: ops.interpolate(_value(N, 3, 4), scale_factor=0.1), OptionError, "makes 0 positions"),
        (lambda: ops.interpolate(_value(N, 3, 4), scale_factor=-1), OptionError, "scale_factor=-1"),
        (lambda: ops.interpolate(_value(N, 3, 4), scale_factor=1e30), OptionError, "makes"),
        (lambda: ops.interpolate(_value(N, 3, 4), 2, mode="cubic"), OptionError, "bilinear"),
        (lambda: ops.interpolate(_value(N, 3, 4), 2, mode="bilinear"), ShapeError, 'mode="linear"'),
        (
            lambda: ops.interpolate(_value(N, 3, 4), 2, antialias=True),
            OptionError,
            'antialias=True with mode="nearest"',
        ),
        (lambda: ops.interpolate(_value(N, 3, 4), 2, mode="bicubic"), ShapeError, 'mode="linear"'),
        (lambda: ops.interpolate(_value(N, 3, 4, 4), 2**25, mode="bicubic"), ShapeError, 'help: mode="bilinear"'),
        (lambda: ops.interpolate(_value(N, 3, 4), 2, align_corners=True), OptionError, "no effect"),
        (lambda: ops.interpolate(_value(N, 3, 0), 2), ShapeError, "at least 1"),
        (lambda: ops.pixel_shuffle(_value(N, 6, 4, 4), 2), ShapeError, "not a multiple of 2² = 4"),
        (
            lambda: ops.pixel_unshuffle(_value(N, 6, 4, 3), 2),
            ShapeError,
            "4×3 pixels do not divide into squares of 2×2",
        ),
        (lambda: ops.pixel_shuffle(_value(N, 6, 4), 2), ShapeError, "N, C, H, W"),
        (lambda: ops.pixel_shuffle(_value(N, 4, 4, 4), 0), OptionError, "upscale_factor=0"),
        (lambda: ops.lp_pool(_value(N, 4, 4, 4), 0, 2), OptionError, "norm_type=0"),
        (lambda: ops.max_pool(_value(N, 4, 4, 4), 2, padding=2), OptionError, "more than half"),
        (lambda: ops.avg_pool(_value(N, 4, 4, 4), 3, padding=(1, 2)), OptionError, "more than half"),
        (lambda: ops.avg_pool(_value(N, 4, 4, 4), 3, divisor_override=0), OptionError, "divisor_override=0"),
        (lambda: ops.avg_pool(_value(N, 4, 4, 4), 3, divisor_override=1.5), OptionError, "divisor_override=1.5"),
        (lambda: nn.Upsample(), OptionError, "Upsample: give either"),
        (lambda: nn.Upsample(2, mode="nope"), OptionError, "nearest"),
        (lambda: nn.AdaptiveAvgPool2d((1, 2, 3)), OptionError, "AdaptiveAvgPool2d: output_size"),
        (lambda: nn.AvgPool2d(2, divisor_override=0), OptionError, "AvgPool2d: divisor_override=0"),
        (lambda: nn.LPPool2d(-1, 2), OptionError, "LPPool2d: norm_type=-1"),
        (lambda: nn.PixelShuffle(0), OptionError, "PixelShuffle: upscale_factor=0"),
    ],
)
def test_refusals(function: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as refusal:
        function()
    assert text in str(refusal.value)


@pytest.mark.parametrize("name", ["AdaptiveAvgPool2d", "AdaptiveMaxPool2d", "PixelShuffle", "LPPool2d"])
def test_layers_name_their_path(name: str) -> None:
    layer = getattr(nn, name)(*((2, 2) if name == "LPPool2d" else (2,)))
    with pytest.raises(ShapeError, match=f'at "1" {name}') as refusal:
        nn.Sequential(nn.ReLU(), layer)(np.zeros((2, 12), np.float32))
    assert "help: " in str(refusal.value)
