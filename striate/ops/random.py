"""Dropout and its random numbers, each of which is a function of a key and of the index of an element.

There is no generator state, and the numbers do not depend on the order of evaluation or on the number of threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from striate.codegen.kernel import Kernel
from striate.codegen.lanes import Vector
from striate.codegen.region_writer import Place
from striate.codegen.words import element_words, halves, index_word
from striate.errors import OptionError
from striate.graph.op import Gradients, Kind, Needed, Op, Sample, Values, register
from striate.graph.reshape import reshape
from striate.graph.value import Array, DType, Integers, TensorType, Value
from striate.ops.requirement import dtype_error, require_floats, shape_error
from striate.ops.shaping import filled
from striate.options import flag, number, whole_number

GOLDEN = 0x9E3779B9
"""2³² divided by the golden ratio; multiples of it modulo 2³² spread small counters over all 32 bits."""


def scrambled(word: Any) -> Any:
    """Hash a 32-bit word by a bijection in which every input bit changes about half of the output bits.

    The constants are those of Chris Wellons' "lowbias32" (nullprogram.com, 2018), found by search. The function uses
    only ``^ * >>``, so ``word`` may be a NumPy array of uint32, or a vector of words in a kernel.
    """
    word = word ^ (word >> 16)
    word = word * 0x7FEB352D
    word = word ^ (word >> 15)
    word = word * 0x846CA68B
    return word ^ (word >> 16)


def row_words(key_low: Any, key_high: Any, stream: Any, n: Any) -> tuple[Any, Any]:
    """Return the two 32-bit words that all elements of sample ``n`` share, as ``mix`` needs them.

    ``key_low`` and ``key_high`` are the halves of the 64-bit key, and ``stream`` is ``DropoutMask.stream_word``, which
    differs for every dropout of a network.
    """
    first = scrambled(scrambled(scrambled(key_low + stream) ^ key_high) + n)
    return first, scrambled(first + GOLDEN)


def mix(rows: tuple[Any, Any], element: Any) -> Any:
    """Return the 32 random bits of one element; ``element`` is its row-major index within the sample.

    ``rows`` are the two words of the sample, from ``row_words``.
    """
    first, second = rows
    return scrambled(scrambled(element ^ first) + second)


@register
@dataclass(frozen=True)
class DropoutMask(Op):
    """y = 0 with the given probability p, else 1 / (1 − p)

    The mask of ``dropout``. Inputs: x (N, C, …), which only gives y its shape and dtype, and a key, an int64 scalar
    that the caller derives from the seed and the step. ``probability`` is p, and ``stream`` distinguishes the dropouts
    of a network. An element is dropped if its 32 random bits, read as a number, are below p · 2³². An optional third
    input, an int64 scalar, is the index of the first sample of x in a larger batch, by default 0.
    """

    kind: ClassVar[Kind] = Kind.RANDOM
    takes_first_row: ClassVar[bool] = True
    probability: float
    stream: int

    @property
    def threshold(self) -> int:
        """p · 2³², rounded, for the dropout probability p.

        An element is dropped if its 32 random bits, read as a number, are below this threshold.
        """
        return min(round(self.probability * 2**32), 2**32 - 1)

    @property
    def stream_word(self) -> int:
        """The 32-bit word that stands for ``stream`` in ``row_words``."""
        return self.stream * GOLDEN % 2**32

    @property
    def scale(self) -> float:
        """1 / (1 − p), the value of the mask where an element is kept; p is the dropout probability."""
        return 1 / (1 - self.probability)

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        x, key, *first = inputs
        require_floats(self, [x])
        if not 0 <= self.probability < 1:
            raise OptionError(f"{self}: the probability must be in [0, 1)")
        if any(one.dtype is not DType.int64 or one.rank for one in (key, *first)):
            raise dtype_error(self, f"its key must be an int64 scalar, got {key}", "mix seed and step into one number")
        if x.rank < 2:
            raise shape_error(self, f"expected a batch (N, C, …), got {x}", "reshape (N,) to (N, 1)")
        return (x,)

    def emit_at(self, k: Kernel, place: Place, key: Vector, first: Vector | None = None) -> Vector:
        """Emit the mask for one vector of elements; x itself is not read.

        ``place`` is the position of the vector in the loops, and ``key`` holds the int64 key. ``first``, an int64
        vector, holds the index of the first sample of x in a larger batch; None means 0.
        """
        low, high = halves(k, key)
        n = index_word(k, place.n)
        rows = row_words(low, high, self.stream_word, n if first is None else n + halves(k, first)[0])
        drawn = mix(rows, element_words(k, place))
        zero, kept = k.constant(0.0, place.dtype), k.constant(self.scale, place.dtype)
        return k.select(drawn.below(self.threshold), zero, kept)

    def reference(self, x: Array, key: Array, first: Array | int = 0) -> Array:
        bits = int(key) % 2**64
        parts = (bits % 2**32, bits >> 32, self.stream_word)
        low, high, stream = (np.array([part], np.uint32) for part in parts)
        y = np.empty((x.shape[0], x[:1].size), x.dtype)
        element = np.arange(y.shape[1], dtype=np.uint32)
        for n in range(x.shape[0]):
            drawn = mix(row_words(low, high, stream, np.array([n + int(first)], np.uint32)), element)
            y[n] = np.where(drawn < np.uint32(self.threshold), 0, self.scale)
        return y.reshape(x.shape)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        return tuple(None for _ in inputs)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        x = random.standard_normal((3, 17, 2))
        yield Sample(cls(0.5, 1), (x, np.asarray(1 << 40, np.int64), np.asarray(5, np.int64)))
        for shape, probability, stream in (
            ((3, 17, 2, 5), 0.5, 0),
            ((2, 3), 0.1, 1),
            ((1, 1, 1, 1), 0.9, 7),
            ((2, 3, 7), 0.0, 2),
        ):
            key = np.asarray(random.integers(-(2**63), 2**63), np.int64)
            yield Sample(cls(probability, stream), (random.standard_normal(shape), key))


def dropout(input: Value, key: Integers, p: float = 0.5, stream: int = 0) -> Value:
    """Return y = x · m, where m is 0 with probability ``p`` and 1 / (1 − p) otherwise.

    ``input`` is x (N, …) in float32 or float64. The mask m is a function of ``key``, ``stream`` and the element's
    index: ``key`` is an int64 scalar that should change with every step, and ``stream`` should differ for every dropout
    of a network. p = 0 returns x. Srivastava and others, 2014. Raises ShapeError for a scalar x, DTypeError for another
    dtype of x or of ``key``, and OptionError for a probability outside [0, 1] and a negative ``stream``.
    """
    p, stream = number("dropout: p", p, 0, 1), whole_number("dropout: stream", stream, 0, 2**31 - 1)
    if p == 0:
        return input
    if p == 1:
        return input * 0
    if input.type.rank == 1:
        column = reshape(input, (input.shape[0], 1))
        return reshape(dropout(column, key, p, stream), input.shape)
    return input * DropoutMask(float(p), stream)(input, key)


def _mask(x: Value, axes: int, key: Integers, p: float, stream: int) -> Value:
    """Return a mask of 0 and 1 / (1 − p) with the sizes of x on its first ``axes`` axes, and size 1 on the others."""
    shape = (*x.shape[:axes], *(1,) * (max(2, x.type.rank) - axes))
    return DropoutMask(p, stream)(filled(0.0, x.type.with_shape(shape)), key)


def _over(what: str, input: Value, axes: int, key: Integers, p: float, stream: int) -> Value:
    """Return x · m, where all elements with the same first ``axes`` indices share one element of the mask m.

    ``what`` is the function that errors name. Raises ``ShapeError``, ``DTypeError`` or ``OptionError``.
    """
    p, stream = number(f"{what}: p", p, 0, 1), whole_number(f"{what}: stream", stream, 0, 2**31 - 1)
    require_floats(DropoutMask(0.0, stream), [input.type])
    if input.type.rank < axes:
        raise shape_error(
            what,
            f"expected an input with at least {axes} {'axis' if axes == 1 else 'axes'}, got {input.type}",
            "x[None]",
        )
    if p == 0:
        return input
    if p == 1:
        return input * 0
    mask = _mask(input, axes, key, p, stream)
    return input * (mask if input.type.rank > 1 else reshape(mask, input.shape))


def feature_dropout(input: Value, key: Integers, p: float = 0.5, stream: int = 0) -> Value:
    """Return y = x · m, where m is 0 for a whole channel with probability ``p``, and 1 / (1 − p) otherwise.

    ``input`` is x (N, C, positions…) in float32 or float64; a channel is dropped separately for each sample. ``key``,
    ``stream`` and errors are as in ``dropout``; an x with fewer than two axes raises ShapeError. Tompson and others,
    2015 (arXiv:1411.4280).
    """
    return _over("feature_dropout", input, 2, key, p, stream)


def drop_path(input: Value, key: Integers, p: float = 0.0, stream: int = 0, scale_by_keep: bool = True) -> Value:
    """Return y = x · m, where m is 0 for a whole sample with probability ``p``, and 1 / (1 − p) otherwise.

    This is stochastic depth (Huang and others, 2016, arXiv:1603.09382), for the branches of residual blocks. ``input``
    is x (N, …) in float32 or float64; ``key``, ``stream`` and errors are as in ``dropout``. Without ``scale_by_keep``,
    m is 1 where a sample is kept.
    """
    y = _over("drop_path", input, 1, key, p, stream)
    return y if flag("drop_path: scale_by_keep", scale_by_keep) or p == 1 else y * (1 - p)


_SELU_FLOOR = -1.7580993408473766  # the limit of SELU at −∞, −λα (Klambauer and others, 2017, arXiv:1706.02515)


def alpha_dropout(input: Value, key: Integers, p: float = 0.5, stream: int = 0, features: bool = False) -> Value:
    """Return a · (x where kept, α′ where dropped) + b: dropout that preserves mean 0 and variance 1, for SELU.

    An element is dropped with probability ``p``. α′ = −1.7581 is the limit of SELU at −∞; a = 1 / √((1 − p)(1 + p α′²))
    and b = −a p α′ restore the moments. ``input`` is x in float32 or float64; ``key`` and ``stream`` are as in
    ``dropout``. With ``features``, whole channels of a sample (N, C, …) are dropped. p = 1 returns zeros. Klambauer and
    others, 2017 (arXiv:1706.02515). Raises ShapeError if ``features`` is True and x has fewer than two axes, DTypeError
    for another dtype, and OptionError for a probability outside [0, 1].
    """
    p, stream = number("alpha_dropout: p", p, 0, 1), whole_number("alpha_dropout: stream", stream, 0, 2**31 - 1)
    if p == 0:
        return input
    if p == 1:
        return input * 0
    axes = 2 if flag("alpha_dropout: features", features) else input.type.rank
    if input.type.rank < axes:
        raise shape_error("alpha_dropout", f"expected (N, C, …), got {input.type}", "x[None]")
    require_floats(DropoutMask(0.0, stream), [input.type])
    kept = _mask(input, axes, key, p, stream) * (1 - p)  # 0 or 1
    kept = kept if input.type.rank > 1 else reshape(kept, input.shape)
    a = ((1 - p) * (1 + p * _SELU_FLOOR**2)) ** -0.5
    return (input * kept + (1 - kept) * _SELU_FLOOR) * a + -a * p * _SELU_FLOOR
