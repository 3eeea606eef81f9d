"""Filters on pictures, compared with ``scipy.ndimage`` (which only the tests need)."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as hs

import striate as st
from striate.data.filters import FILTERS, Edge, filter_weights, parameters_of, shows_differences
from striate.errors import DataError, DTypeError, OptionError, ShapeError
from tests.data.layouts import LAYOUTS

ndimage = pytest.importorskip("scipy.ndimage")

SCIPY = {"zero": "constant"}
NUMPY = {"reflect": "symmetric", "mirror": "reflect", "nearest": "edge", "wrap": "wrap"}
WEIGHTS: dict[str, Any] = {
    **{name: filter_weights(name) for name in FILTERS},
    "even": np.arange(8.0).reshape(2, 4) - 3,
    "column": np.arange(5.0).reshape(5, 1),
    "large": np.random.default_rng(5).standard_normal((19, 33)),
    "long": np.random.default_rng(6).standard_normal((1, 90)),
    "zeros": np.zeros((3, 3)),
}


def _judged(x: Any, weights: Any, mode: str, cval: float) -> Any:
    """Return SciPy's result.

    For filters larger than the picture, SciPy's "reflect" reads foreign memory, so NumPy pads the picture first.
    """
    if mode not in NUMPY or all(taps <= size for taps, size in zip(weights.shape, x.shape)):
        return ndimage.correlate(x, weights, mode=SCIPY.get(mode, mode), cval=cval)
    around = [(taps, taps) for taps in weights.shape]
    wanted = ndimage.correlate(np.pad(x, around, mode=NUMPY[mode]), weights, mode="constant")
    return wanted[tuple(slice(taps, -taps) for taps in weights.shape)]


def _picture(shape: tuple[int, ...], dtype: Any = np.float64) -> Any:
    return (np.random.default_rng(0).random(shape) * 255).astype(dtype)


@pytest.mark.parametrize("mode", Edge.__members__)
@pytest.mark.parametrize("name", WEIGHTS)
def test_every_filter_in_every_mode_is_that_of_scipy(name: str, mode: str) -> None:
    weights = WEIGHTS[name]
    for shape in ((70, 66), (5, 3), (1, 1)):
        x = _picture(shape)
        cval = 7.0 if mode == "constant" else 0.0
        wanted = _judged(x, weights, mode, cval)
        found = st.filter(x, weights, mode=mode, cval=cval)
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-9)


@given(
    height=hs.integers(1, 20), width=hs.integers(1, 20), rows=hs.integers(1, 12), columns=hs.integers(1, 12),
    mode=hs.sampled_from(list(Edge.__members__)),
)  # fmt: skip
def test_any_sizes(height: int, width: int, rows: int, columns: int, mode: str) -> None:
    x, w = _picture((height, width)), np.random.default_rng(1).standard_normal((rows, columns))
    wanted = _judged(x, w, mode, 0.0)
    np.testing.assert_allclose(st.filter(x, w, mode=mode), wanted, rtol=1e-11, atol=1e-8)


def test_colours_in_either_order_and_several_pictures_are_filtered_channel_by_channel() -> None:
    first, last = _picture((3, 40, 30), np.uint8), _picture((40, 30, 3), np.uint8)
    for name in ("sobel_x", "gaussian_blur"):
        weights = filter_weights(name)
        found = st.filter(first, name)
        assert found.shape == first.shape
        assert found.dtype == np.float32
        for channel in range(3):
            wanted = ndimage.correlate(first[channel].astype(float), weights)
            np.testing.assert_allclose(found[channel], wanted, atol=1e-3)
        wanted = ndimage.correlate(last.astype(float), weights[:, :, np.newaxis])
        np.testing.assert_allclose(st.filter(last, name), wanted, atol=1e-3)
        batch = np.stack([first, first[:, ::-1]])
        np.testing.assert_array_equal(st.filter(batch, name)[0], found)
    for four in (np.concatenate([first, first[:1]]), np.concatenate([last, last[..., :1]], axis=2)):
        assert st.filter(four, "identity").tolist() == four.tolist()


def test_numbers_keep_their_unit_and_get_floats_wide_enough() -> None:
    x = np.array([[0, 200], [100, 255]], np.uint8)
    np.testing.assert_array_equal(st.filter(x, [[-1, 0, 1]]), [[200, 200], [155, 155]])
    for dtype, wanted in (
        (bool, np.float32),
        (np.uint16, np.float32),
        (np.float16, np.float32),
        (np.int32, np.float64),
    ):
        assert st.filter(np.ones((3, 4), dtype), "box_blur").dtype == wanted
    assert np.isnan(st.filter(np.array([[1.0, np.nan, 1, 1]]), [[1, 1, 1]])[0]).tolist() == [True, True, True, False]


@pytest.mark.slow
def test_named_filters_are_what_scipy_calls_them() -> None:
    x = _picture((41, 37))
    for name, wanted in {
        "sobel_x": ndimage.sobel(x, 1), "sobel_y": ndimage.sobel(x, 0),
        "prewitt_x": ndimage.prewitt(x, 1), "prewitt_y": ndimage.prewitt(x, 0), "laplacian": ndimage.laplace(x),
    }.items():  # fmt: skip
        np.testing.assert_allclose(st.filter(x, name), wanted, atol=1e-9, err_msg=name)
    for size in (1, 3, 4, 9):
        np.testing.assert_allclose(st.filter(x, "box_blur", size=size), ndimage.uniform_filter(x, size), atol=1e-9)
    for sigma in (0.4, 1.0, 2.5, 6.0):
        wanted = ndimage.gaussian_filter(x, sigma)
        np.testing.assert_allclose(st.filter(x, "gaussian_blur", sigma=sigma), wanted, atol=1e-9)
    np.testing.assert_allclose(
        st.filter(x, "gaussian_blur", sigma=128), ndimage.gaussian_filter(x, 128), rtol=1e-9
    )  # the largest
    np.testing.assert_allclose(st.filter(x, "sharpen", amount=0.5), x - 0.5 * ndimage.laplace(x), atol=1e-9)
    np.testing.assert_array_equal(st.filter(x, "identity"), x)


@pytest.mark.parametrize("angle", [0, 30, 45, 90, 135, 200])
@pytest.mark.parametrize("wavelength", [4.0, 7.0])
def test_gabor_answers_most_to_stripes_of_its_angle_and_wavelength(angle: float, wavelength: float) -> None:
    weights = filter_weights("gabor", angle=angle, wavelength=wavelength)
    assert abs(weights.sum()) < 1e-12
    assert np.abs(weights).sum() == pytest.approx(2)
    np.testing.assert_allclose(weights, weights[::-1, ::-1], atol=1e-15)  # even, with phase 0
    y, x = np.mgrid[:96, :96]

    def answer(direction: float, length: float) -> float:
        turn = np.deg2rad(direction)
        stripes = np.cos(2 * np.pi * (x * np.cos(turn) - y * np.sin(turn)) / length)
        return float(np.abs(st.filter(stripes, weights)[30:-30, 30:-30]).max())

    best = answer(angle, wavelength)
    assert all(best > 1.5 * answer(angle + turned, wavelength) for turned in (45, 90, 135))
    assert all(best > 1.2 * answer(angle, wavelength * factor) for factor in (0.5, 2))
    odd = filter_weights("gabor", angle=angle, wavelength=wavelength, phase=90)
    np.testing.assert_allclose(odd, -odd[::-1, ::-1], atol=1e-15)


def test_which_filters_show_differences() -> None:
    signed = {name for name in FILTERS if shows_differences(filter_weights(name))}
    assert signed == {"sobel_x", "sobel_y", "prewitt_x", "prewitt_y", "laplacian", "gabor"}


def test_every_named_filter_says_what_it_is() -> None:
    for name, make in FILTERS.items():
        assert inspect.getdoc(make)
        assert all(default is None or isinstance(default, int | float) for default in parameters_of(name).values())


def test_what_is_unknown_lists_the_known() -> None:
    x = np.ones((4, 4))
    with pytest.raises(OptionError, match=r"unknown filter 'sobel'; did you mean 'sobel_[xy]'[\s\S]*known: identity"):
        st.filter(x, "sobel")
    with pytest.raises(OptionError, match=r"unknown parameter of gabor 'lambda'[\s\S]*wavelength"):
        st.filter(x, "gabor", **{"lambda": 3})
    with pytest.raises(OptionError, match="sobel_x has no parameters"):
        st.filter(x, "sobel_x", size=3)
    with pytest.raises(OptionError, match="only named filters have parameters"):
        st.filter(x, [[1]], size=3)
    with pytest.raises(OptionError, match=r"unknown mode 'same'[\s\S]*reflect, mirror, nearest"):
        st.filter(x, "sobel_x", mode="same")


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("box_blur", {"size": 0}), ("box_blur", {"size": 2.5}), ("gaussian_blur", {"sigma": 0}),
        ("gaussian_blur", {"sigma": float("nan")}), ("gaussian_blur", {"sigma": 1e9}), ("gabor", {"wavelength": 1}),
        ("gabor", {"sigma": -1}), ("gabor", {"aspect": 0}), ("gabor", {"angle": "x"}), ("gabor", {"wavelength": 1e6}),
        ("sharpen", {"amount": float("inf")}), ("sharpen", {"amount": 1e39}), ("sharpen", {"amount": None}),
        ("box_blur", {"size": True}), ("box_blur", {"size": 1026}), ("gaussian_blur", {"sigma": "2"}),
        ("gabor", {"phase": None}), ("gabor", {"sigma": 1e3}), ("gabor", {"aspect": 1e-9}),
        ("gaussian_blur", {"sigma": 128.1}),
    ],
)  # fmt: skip
def test_impossible_parameters_are_refused(name: str, parameters: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(parameters))):
        filter_weights(name, **parameters)


def test_what_the_result_cannot_hold_is_refused() -> None:
    x = np.full((4, 4), 100, np.float32)
    for options in ({"cval": np.nan}, {"cval": np.inf}, {"cval": "0"}):
        with pytest.raises(OptionError, match=r"cval=.*; expected a finite number"):
            st.filter(x, "sobel_x", mode="constant", **options)
    with pytest.raises(OptionError, match=r"cval=5 has no effect with mode='wrap'\n  help: mode='constant'"):
        st.filter(x, "sobel_x", mode="wrap", cval=5)
    with pytest.raises(OptionError, match=r"exceed float32\n  help: picture.astype\(np.float64\)"):
        st.filter(x, [[1e37]])
    assert st.filter(x.astype(np.float64), [[1e37]]).max() == 1e39
    with pytest.raises(OptionError, match=r"exceed float64$"):
        st.filter(x.astype(np.float64), [[1e308]])
    for mode in (None, [], 3):
        with pytest.raises(OptionError, match="unknown mode"):
            st.filter(x, "sobel_x", mode=mode)  # type: ignore[arg-type]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.float64])
def test_pictures_and_filters_of_any_layout(layout: str, dtype: type) -> None:
    x = np.random.default_rng(0).integers(0, 200, (3, 9, 7)).astype(dtype)
    weights = np.random.default_rng(1).integers(-3, 4, (3, 2)).astype(dtype)
    expected = st.filter(x, weights)
    np.testing.assert_array_equal(st.filter(LAYOUTS[layout](x), LAYOUTS[layout](weights)), expected)


@pytest.mark.slow
def test_the_rounding_error_of_a_large_filter_is_that_of_short_sums() -> None:
    weights = np.random.default_rng(1).random((101, 101))
    x = _picture((40, 30), np.float32)
    wanted = _judged(x.astype(np.float64), weights.astype(np.float32).astype(np.float64), "reflect", 0.0)
    np.testing.assert_allclose(st.filter(x, weights), wanted, rtol=2e-6)


def test_nan_passes_through() -> None:
    x = np.ones((9, 9), np.float32)
    x[4, 4] = np.nan
    assert np.isnan(st.filter(x, "box_blur")).sum() == 9


def test_what_is_not_a_picture_or_a_filter_is_refused() -> None:
    x = np.ones((4, 4))
    with pytest.raises(DTypeError, match="a picture is an array of numbers"):
        st.filter([[1, 2], [3]], "sobel_x")
    with pytest.raises(DTypeError, match="a filter is an array of numbers"):
        st.filter(x, [[1, 2], [3]])
    for shape in ((5,), (5, 6, 7), (2, 3, 4, 5, 6)):
        with pytest.raises(ShapeError, match="expected grey"):
            st.filter(np.ones(shape), "sobel_x")
    with pytest.raises(DataError, match="empty picture"):
        st.filter(np.ones((0, 4)), "sobel_x")
    with pytest.raises(DTypeError, match="a picture consists of"):
        st.filter([["a"]], "sobel_x")
    with pytest.raises(ShapeError, match=r"w\[None\]"):
        st.filter(x, [1, 2, 1])
    with pytest.raises(ShapeError, match="from 1 to"):
        st.filter(x, np.ones((2000, 1)))
    with pytest.raises(DataError, match="finite"):
        st.filter(x, [[np.inf]])
    with pytest.raises(DTypeError, match="a filter consists of"):
        st.filter(x, np.ones((1, 1), complex))
