"""Linear filters for pictures: named ones such as Sobel and Gaussian, and arrays of weights.

    y[p] = Σ_k w[k] · x[p + k − centre],   centre = size // 2 along each axis

x is the picture, w the weights, y the result, p a position in the picture, and k an index into the weights. As in the
convolutions of a network, the filter is not flipped: the result is a correlation. It is computed by the kernels of
convolutions. Columns run to the right and rows downwards: ``sobel_x`` is positive where the picture brightens to the
right.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

from striate.errors import DataError, DTypeError, OptionError, ShapeError, unknown_option
from striate.locks import Lock
from striate.nn.convolution import Conv2d
from striate.options import number, whole_number

Array = npt.NDArray[Any]
Weights = npt.NDArray[np.float64]

_TILE = 64  # pictures are cut into squares, so that kernels depend only on the filter's size and memory stays small
_TOGETHER = 64
_SEPARATED = 25  # taps from which separate passes with columns and rows can be faster than one pass
_SIDE = 8  # side of a part of a filter; within a part, products are added in the pixels' precision
_LARGEST = 1025  # taps along one axis: those of a Gaussian with σ = 128
_MOST = 1e6  # amount of sharpening


# The named filters


def identity() -> Weights:
    """The picture itself, unchanged.

    Returns the weights (1, 1), float64, of the filter with this result.
    """
    return np.ones((1, 1))


def box_blur(size: int = 3) -> Weights:
    """The mean of the size × size pixels around each pixel.

    Returns the weights (size, size), float64, of the filter with this result. ``size`` is from 1 to 1025; raises
    ``OptionError`` for other sizes.
    """
    count = whole_number("size", size, 1, _LARGEST)
    return np.full((count, count), 1.0 / count**2, np.float64)


def gaussian_blur(sigma: float = 1.0) -> Weights:
    """A Gaussian blur: weights e^(−(x² + y²) / 2σ²), cut off at 4σ.

    x and y are the distances from the centre in pixels, and σ is ``sigma``. Returns the weights (2r + 1, 2r + 1),
    float64, with r = 4σ rounded; their sum is 1. Raises ``OptionError`` unless 0 < σ ≤ 128.
    """
    number("sigma", sigma, most=(_LARGEST - 1) / 8, above=0)
    reach = int(4 * sigma + 0.5)
    bell: Weights = np.exp(-0.5 * (np.arange(-reach, reach + 1.0) / sigma) ** 2)
    bell /= bell.sum()
    return bell[:, np.newaxis] * bell


def sharpen(amount: float = 1.0) -> Weights:
    """Return the filter that sharpens a picture x: y = x − amount · Laplacian of x

    The filter is its weights (3, 3), float64. Raises ``OptionError`` for an ``amount`` that
    is not a number or too large.
    """
    number("amount", amount, -_MOST, _MOST)
    return _centred(1.0) - amount * laplacian()


def sobel_x() -> Weights:
    """Horizontal differences (right minus left), over three rows with weights 1, 2, 1.

    Returns the weights (3, 3), float64, of the filter with this result.
    """
    return np.outer([1.0, 2.0, 1.0], [-1.0, 0.0, 1.0])


def sobel_y() -> Weights:
    """Vertical differences (below minus above), over three columns with weights 1, 2, 1.

    Returns the weights (3, 3), float64, of the filter with this result.
    """
    return sobel_x().T.copy()


def prewitt_x() -> Weights:
    """Horizontal differences (right minus left), over three rows with weights 1, 1, 1.

    Returns the weights (3, 3), float64, of the filter with this result.
    """
    return np.outer([1.0, 1.0, 1.0], [-1.0, 0.0, 1.0])


def prewitt_y() -> Weights:
    """Vertical differences (below minus above), over three columns with weights 1, 1, 1.

    Returns the weights (3, 3), float64, of the filter with this result.
    """
    return prewitt_x().T.copy()


def laplacian() -> Weights:
    """The Laplacian ∂²/∂x² + ∂²/∂y²: spots and edges.

    Returns the weights (3, 3), float64, of the filter with this result.
    """
    return np.array([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])


def emboss() -> Weights:
    """A relief, with light from the upper left.

    Returns the weights (3, 3), float64, of the filter with this result.
    """
    return np.array([[-2.0, -1.0, 0.0], [-1.0, 1.0, 1.0], [0.0, 1.0, 2.0]])


def gabor(
    angle: float = 0.0, wavelength: float = 6.0, sigma: float | None = None, aspect: float = 0.5, phase: float = 0.0
) -> Weights:
    """Stripes of one direction and width (a Gabor filter).

        w(u, v) = e^(−(u² + γ²v²) / 2σ²) · cos(2πu/λ + φ)

    u and v are the distances from the centre across and along the stripes; u has the direction ``angle``, in degrees
    counter-clockwise from the right: 0 responds to vertical stripes, 90 to horizontal ones. ``wavelength`` is λ in
    pixels, ``sigma`` is σ in pixels (default 0.56 λ, a bandwidth of one octave), ``aspect`` is γ, ``phase`` is φ in
    degrees. The response to a constant picture is subtracted, and the weights are scaled to Σ|w| = 2. Raises
    ``OptionError`` for a filter of more than 1025 pixels along a side. Daugman, 1985.
    """
    number("wavelength", wavelength, 2, _LARGEST)
    spread = 0.56 * wavelength if sigma is None else sigma
    number("sigma", spread, above=0)
    number("aspect", aspect, above=0)
    number("angle", angle)
    number("phase", phase)
    turn, shift = math.radians(angle), math.radians(phase)
    across, along = 3 * spread, 3 * spread / aspect
    reach = max(across, along)
    if 2 * reach >= _LARGEST:
        raise OptionError(
            f"wavelength={wavelength!r}, sigma={spread!r}, aspect={aspect!r}: the filter would have "
            f"{2 * reach:.4g} pixels along one side; the limit is {_LARGEST}\n"
            "  help: a smaller wavelength or sigma, or a larger aspect"
        )
    c, s = math.cos(turn), math.sin(turn)
    width = max(1, math.ceil(max(abs(across * c), abs(along * s))))
    height = max(1, math.ceil(max(abs(across * s), abs(along * c))))
    x, y = np.meshgrid(np.arange(-width, width + 1.0), -np.arange(-height, height + 1.0))
    u, v = x * c + y * s, y * c - x * s
    envelope = np.exp(-(u**2 + (aspect * v) ** 2) / (2 * spread**2))
    wave = envelope * np.cos(2 * math.pi * u / wavelength + shift)
    wave -= envelope * (wave.sum() / envelope.sum())
    total = np.abs(wave).sum()
    return wave * (2 / total) if total > 0 else wave


def _centred(weight: float) -> Weights:
    """Return a 3×3 filter that is 0 but for its centre."""
    weights = np.zeros((3, 3))
    weights[1, 1] = weight
    return weights


FILTERS: dict[str, Callable[..., Weights]] = {
    make.__name__: make
    for make in (
        identity, box_blur, gaussian_blur, sharpen, sobel_x, sobel_y, prewitt_x, prewitt_y, laplacian, emboss, gabor,
    )
}  # fmt: skip


def parameters_of(name: str) -> dict[str, Any]:
    """Return the parameters of a named filter with their defaults.

    Raises ``OptionError``, which lists the known names, for an unknown name.
    """
    if name not in FILTERS:
        raise unknown_option("filter", name, FILTERS)
    return {key: one.default for key, one in inspect.signature(FILTERS[name]).parameters.items()}


def filter_weights(filter: str | npt.ArrayLike, **parameters: Any) -> Weights:
    """Return the weights of a filter as float64 (rows, columns); ``filter`` is its name or an array of weights.

    >>> filter_weights("gabor", angle=45, wavelength=8).shape
    (41, 41)

    ``parameters`` are those of the named filter. Raises ``OptionError`` for an unknown name or parameter, with a list
    of the known ones; ``ShapeError``, ``DTypeError`` or ``DataError`` for an array that is not a filter.
    """
    if isinstance(filter, str):
        known = parameters_of(filter)
        for name in parameters:
            if name not in known:
                raise (
                    unknown_option(f"parameter of {filter}", name, known)
                    if known
                    else OptionError(f"the filter {filter} has no parameters, got {name}={parameters[name]!r}")
                )
        return FILTERS[filter](**parameters)
    if parameters:
        raise OptionError(f"{', '.join(parameters)}: only named filters have parameters, an array has none")
    weights = _array_of(filter, "a filter")
    if weights.dtype.kind not in "buif":
        raise DTypeError(f"a filter consists of real numbers, not of {weights.dtype}")
    if weights.ndim != 2 or weights.size == 0 or max(weights.shape) > _LARGEST:
        raise ShapeError(
            f"a filter of shape {weights.shape}; expected (rows, columns), each from 1 to {_LARGEST}\n"
            "  help: w[None] makes a vector a filter of one row"
        )
    found = weights.astype(np.float64)
    if not np.isfinite(found).all():
        raise DataError("a filter consists of finite numbers")
    return found


def shows_differences(weights: Weights) -> bool:
    """Return whether the weights sum to 0, so that a constant picture becomes 0 and results have both signs."""
    return bool(abs(weights.sum()) <= 1e-6 * np.abs(weights).sum())


# The edge


class Edge(Enum):
    """How a picture continues beyond its edge; the names are those of ``scipy.ndimage``.

    "zero" is "constant" with the value 0.
    """

    reflect = "d c b a | a b c d | d c b a"
    mirror = "d c b | a b c d | c b a"
    nearest = "a a a a | a b c d | d d d d"
    wrap = "a b c d | a b c d | a b c d"
    constant = "k k k k | a b c d | k k k k"  # k is cval
    zero = "0 0 0 0 | a b c d | 0 0 0 0"

    @classmethod
    def parse(cls, name: Edge | str) -> Edge:
        """Return the edge mode with this name; raises ``OptionError`` for an unknown name."""
        if isinstance(name, Edge):
            return name
        if not isinstance(name, str) or name not in cls.__members__:
            raise unknown_option("mode", name, cls.__members__)
        return cls[name]

    def extended(self, planes: Array, before: tuple[int, int], after: tuple[int, int], cval: float) -> Array:
        """Return planes (N, H, W) with new pixels beyond their edges.

        ``before`` is the number of new (rows, columns) above and to the left, ``after`` below and to the right.
        ``cval`` is the value of the new pixels for "constant".
        """
        if self in (Edge.constant, Edge.zero):
            widths = ((0, 0), (before[0], after[0]), (before[1], after[1]))
            return np.pad(planes, widths, constant_values=cval if self is Edge.constant else 0.0)
        for axis in (0, 1):
            size = int(planes.shape[axis + 1])
            place = np.arange(-before[axis], size + after[axis])
            planes = np.take(planes, self._inside(place, size), axis + 1)
        return planes

    def _inside(self, place: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int64]:
        """Return, for each index on the endless line, the index from 0 to size - 1 of the pixel that is there."""
        if self is Edge.nearest:
            return np.clip(place, 0, size - 1)
        if self is Edge.wrap or size == 1:
            return place % size
        if self is Edge.reflect:
            return size - 1 - np.abs(place % (2 * size) - size + 0.5).astype(np.int64)
        return size - 1 - np.abs(place % (2 * size - 2) - size + 1)


# Filtering


def filter(
    picture: npt.ArrayLike,
    filter: str | npt.ArrayLike,
    *,
    mode: Edge | str = "reflect",
    cval: float = 0.0,
    **parameters: Any,
) -> Array:
    """Apply a linear filter to a picture: y[p] = Σ_k w[k] · x[p + k − centre].

        edges = st.filter(picture, "sobel_x")
        blurred = st.filter(picture, "gaussian_blur", sigma=2)
        own = st.filter(picture, [[0, 1, 0], [1, -4, 1], [0, 1, 0]])

    picture  grey (H, W), colour (C, H, W) or (H, W, C) with 1, 3 or 4 channels, or several pictures (N, C, H, W); each
             channel is filtered by itself. A shape that fits both orders counts as channels-first.
    filter   a name (``striate filter --list``) with its ``parameters``, or an array (rows, columns)
    mode     how the picture continues beyond its edge: "reflect" (d c b a | a b c d | d c b a), "mirror", "nearest",
             "wrap", "constant" (with the value ``cval``) or "zero"

    x is the picture, w the filter, y the result, p a position in the picture, k an index into the filter, and centre
    the index of the filter's middle. The results are those of ``scipy.ndimage.correlate``: an array of the shape of the
    picture, in its unit, not clipped to 0 … 255. It is float64 for pictures in float64 or in integers of 32 bits and
    more, otherwise float32.

    Raises ``OptionError`` for an unknown name, parameter or mode, with a list of the known ones, and for weights or a
    ``cval`` with which the result could overflow its type; ``ShapeError`` for a shape that is not a picture or a
    filter; ``DTypeError`` or ``DataError`` for an array of anything but real numbers, an empty picture, or weights that
    are not finite.
    """
    weights = filter_weights(filter, **parameters)
    edge = Edge.parse(mode)
    number("cval", cval)
    if cval and edge is not Edge.constant:
        raise OptionError(f"cval={cval!r} has no effect with mode={edge.name!r}\n  help: mode='constant'")
    pixels = _array_of(picture, "a picture")
    if pixels.dtype.kind not in "buif":
        raise DTypeError(f"a picture consists of real numbers, not of {pixels.dtype}")
    if pixels.size == 0:
        raise DataError(f"an empty picture, of shape {pixels.shape}")
    dtype = np.dtype(np.float32 if np.result_type(pixels, np.float32) == np.float32 else np.float64)
    _require_range(pixels, weights, float(cval), dtype)
    last = _channels_last(pixels.shape)
    ordered = np.moveaxis(pixels, -1, 0) if last else pixels
    planes = np.ascontiguousarray(ordered.reshape(-1, *ordered.shape[-2:]), dtype)
    filtered = _filtered(planes, weights, edge, float(cval)).reshape(ordered.shape)
    return np.ascontiguousarray(np.moveaxis(filtered, 0, -1)) if last else filtered


def _array_of(given: npt.ArrayLike, what: str) -> Array:
    """Return the argument as an array; raises ``DTypeError`` for nested lists of different lengths."""
    try:
        return np.asarray(given)
    except (ValueError, TypeError) as error:
        raise DTypeError(f"{what} is an array of numbers ({error})") from error


def _require_range(pixels: Array, weights: Weights, cval: float, dtype: np.dtype[Any]) -> None:
    """Raise ``OptionError`` where Σ|w| · max|x| overflows the type of the result.

    NaN and infinity in the picture are ignored.
    """
    finite = np.abs(pixels[np.isfinite(pixels)].astype(np.float64))
    largest = max(float(finite.max(initial=0.0)), abs(cval))
    with np.errstate(over="ignore"):
        reach = float(np.abs(weights).sum()) * largest
    if not reach <= float(np.finfo(dtype).max):
        raise OptionError(
            f"weights of up to {np.abs(weights).max():.3g} times pixels of up to {largest:.3g} exceed {dtype}"
            + ("\n  help: picture.astype(np.float64)" if dtype == np.float32 else "")
        )


def _channels_last(shape: tuple[int, ...]) -> bool:
    """Whether the channels of a picture of this shape come last; raises ``ShapeError`` if it is none."""
    if len(shape) == 2 or len(shape) == 4 or (len(shape) == 3 and shape[0] in (1, 3, 4)):
        return False
    if len(shape) == 3 and shape[2] in (1, 3, 4):
        return True
    raise ShapeError(
        f"a picture of shape {shape}; expected grey (H, W), or colour (C, H, W) or (H, W, C) with 1, 3 or 4 channels"
    )


def _filtered(planes: Array, weights: Weights, edge: Edge, cval: float) -> Array:
    """Filter planes (N, H, W) of floats; the result has the same shape."""
    rows, columns = weights.shape
    before = (rows // 2, columns // 2)
    source = edge.extended(planes, before, (rows - 1 - before[0], columns - 1 - before[1]), cval)
    terms = _separated(weights) if weights.size >= _SEPARATED else None
    if terms is None:
        return _slid(source, weights)
    total = np.zeros(planes.shape, planes.dtype)
    for column, row in terms:
        total += _slid(_slid(source, column), row)
    return total


def _separated(weights: Weights) -> list[tuple[Weights, Weights]] | None:
    """Return columns and rows whose outer products add up to the filter, or None if that saves no time.

    A Gaussian or an upright Gabor filter is a single product. Terms below the rounding error of float64 are left out.
    """
    u, s, v = np.linalg.svd(weights, full_matrices=False)
    rank = max(1, int((s > 1e-14 * s[0]).sum()))
    if min(weights.shape) == 1 or rank * sum(weights.shape) > weights.size / 2:
        return None
    return [(u[:, i : i + 1] * s[i], v[i : i + 1]) for i in range(rank)]


class _Sliders:
    """A bounded cache of convolution layers with one channel, by filter size and dtype, guarded by a lock."""

    def __init__(self, limit: int = 8) -> None:
        self._limit = limit
        self._layers: dict[tuple[tuple[int, ...], np.dtype[Any]], Conv2d] = {}
        self._lock = Lock()

    def slide(self, squares: Array, weights: Array) -> Array:
        """Correlate squares (N, 1, H, W) with the weights at all positions where these fit.

        Returns (N, 1, H − rows + 1, W − columns + 1).
        """
        key = (weights.shape, squares.dtype)
        with self._lock:
            layer = self._layers.pop(key, None) or Conv2d(1, 1, weights.shape, bias=False).to(squares.dtype.name)
            self._layers[key] = layer  # the layers are in the order of their last use
            if len(self._layers) > self._limit:
                del self._layers[next(iter(self._layers))]
            layer.load_state_dict({"weight": weights[np.newaxis, np.newaxis]})
            return layer(squares)


_sliders = _Sliders()


def _slid(source: Array, weights: Weights) -> Array:
    """Return Σ_k w[k] · x[p + k] at all positions where the whole filter fits, for planes (N, H, W).

    A large filter is split into parts of at most 64 weights, whose results are added. That has an eighth of the
    rounding error of one sum over a filter of 101×101. Parts of zeros are skipped.
    """
    rows, columns = weights.shape
    height, width = source.shape[1] - rows + 1, source.shape[2] - columns + 1
    most = (_SIDE, _SIDE) if min(rows, columns) > 1 else (_SIDE**2, _SIDE**2)
    parts = [
        (y, x, weights[y : y + down, x : x + right])
        for y, down in _cut(rows, most[0])
        for x, right in _cut(columns, most[1])
    ]
    total: Array | None = None
    for y, x, part in parts:
        if part.any():
            reach = source[:, y : y + height + part.shape[0] - 1, x : x + width + part.shape[1] - 1]
            found = _slid_squares(reach, part)
            total = found if total is None else total + found
    return np.zeros((len(source), height, width), source.dtype) if total is None else total


def _cut(length: int, most: int) -> list[tuple[int, int]]:
    """Split a length into about equal parts of at most ``most``: (start, length) of each."""
    count = -(-length // most)
    ends = [i * length // count for i in range(count + 1)]
    return [(start, end - start) for start, end in itertools.pairwise(ends)]


def _slid_squares(source: Array, weights: Weights) -> Array:
    """Compute ``_slid`` for a small filter, in square pieces of the picture."""
    rows, columns = weights.shape
    n, height, width = source.shape[0], source.shape[1] - rows + 1, source.shape[2] - columns + 1
    target = np.empty((n, height, width), source.dtype)
    corners = [(i, y, x) for i in range(n) for y in range(0, height, _TILE) for x in range(0, width, _TILE)]
    squares = np.zeros((min(len(corners), _TOGETHER), 1, _TILE + rows - 1, _TILE + columns - 1), source.dtype)
    for first in range(0, len(corners), _TOGETHER):
        part = corners[first : first + _TOGETHER]
        for square, (i, y, x) in zip(squares[:, 0], part):
            seen = source[i, y : y + square.shape[0], x : x + square.shape[1]]
            square[: seen.shape[0], : seen.shape[1]] = seen  # results for the rest of the square are dropped below
        for found, (i, y, x) in zip(_sliders.slide(squares[: len(part)], weights)[:, 0], part):
            place = target[i, y : y + _TILE, x : x + _TILE]
            place[...] = found[: place.shape[0], : place.shape[1]]
    return target
