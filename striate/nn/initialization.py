"""Initial values of parameters.

Each parameter draws from its own random generator, seeded with (seed, dotted name). Therefore the initial values of a
network depend neither on the order of its layers nor on how their sizes were inferred.

An initializer is a function (shape, fan_in, random) → array. fan_in is the number of inputs that each output sums over;
for a convolution, it is the number of input channels of a group times the number of kernel positions. ``random`` is the
generator to draw from.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from functools import partial

import numpy as np

from striate.errors import EngineError, OptionError, unknown_option
from striate.graph.value import Array
from striate.ops.activation import LeakyRelu
from striate.runtime.arena import out_of_memory

Initializer = Callable[[tuple[int, ...], int, "np.random.Generator"], Array]
"""A function (shape, fan_in, random generator) → array of that shape.

Axis 0 of a weight counts its outputs; fan_in is the number of inputs that each output sums over.
"""


def generator(seed: int, name: str) -> np.random.Generator:
    """Return the random generator of the parameter with this dotted name, seeded with ``seed`` and the name."""
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))


def uniform_by_fan_in(shape: tuple[int, ...], fan_in: int, random: np.random.Generator) -> Array:
    """Draw an array from U(−1/√fan_in, 1/√fan_in), PyTorch's default for weights and biases.

    ``fan_in`` is the number of inputs that each output sums over; 0 gives zeros. PyTorch calls this distribution
    kaiming_uniform with a = √5.
    """
    bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
    return random.uniform(-bound, bound, shape)


def he(negative_slope: float = 0.0) -> Initializer:
    """Return an initializer that draws from N(0, 2 / ((1 + α²) · fan_in)), where α is ``negative_slope``.

    fan_in is the number of inputs that each output sums over. The variance of activations then stays constant through
    layers with ReLU (α = 0) or leaky ReLU. He et al., arXiv:1502.01852.
    """
    return scaled_normal(LeakyRelu(negative_slope).gain)


def scaled_normal(gain: float) -> Initializer:
    """Return an initializer that draws from the normal distribution N(0, ``gain``² / fan_in).

    fan_in is the number of inputs that each output sums over.
    """
    return partial(_normal, gain=gain)  # unlike a function defined here, it can be pickled with the model


def _normal(shape: tuple[int, ...], fan_in: int, random: np.random.Generator, *, gain: float) -> Array:
    return random.standard_normal(shape) * (gain / math.sqrt(max(fan_in, 1)))


def xavier(shape: tuple[int, ...], fan_in: int, random: np.random.Generator) -> Array:
    """Draw a weight from U(−b, b) with b = √(6 / (fan_in + fan_out)). Glorot and Bengio, 2010.

    ``fan_in`` is the number of inputs that each output sums over; fan_out is the size of axis 0 times the number of
    kernel positions.
    """
    fan_out = shape[0] * math.prod(shape[2:])
    bound = math.sqrt(6 / max(fan_in + fan_out, 1))
    return random.uniform(-bound, bound, shape)


def orthogonal(shape: tuple[int, ...], fan_in: int, random: np.random.Generator) -> Array:
    """Draw a weight that, as a matrix (outputs, inputs · kernel positions), has orthonormal rows.

    If the matrix has more rows than columns, its columns are orthonormal instead. All such matrices are equally likely.
    ``fan_in`` has no effect. Saxe et al., arXiv:1312.6120.
    """
    rows, columns = shape[0], math.prod(shape[1:])
    q, r = np.linalg.qr(random.standard_normal((max(rows, columns), min(rows, columns))))
    q = q * np.where(np.diag(r) < 0, -1.0, 1.0)  # without this choice of signs, Q would not be uniformly distributed
    return (q if rows >= columns else q.T).reshape(shape)


def dirac(shape: tuple[int, ...], fan_in: int, random: np.random.Generator) -> Array:
    """Return a weight with which output channel i copies input channel i, as far as there are both.

    Weights of further output channels are drawn by ``uniform_by_fan_in``, where PyTorch's ``dirac_`` leaves zeros. A
    layer with as many outputs as inputs, and a padding that keeps the size, starts as the identity.
    """
    weight = uniform_by_fan_in(shape, fan_in, random)
    copied = min(shape[:2])
    weight[:copied] = 0
    weight[np.arange(copied), np.arange(copied), *(size // 2 for size in shape[2:])] = 1
    return weight


def zeros(shape: tuple[int, ...], fan_in: int, random: np.random.Generator) -> Array:
    """Return an array of zeros of this shape; the other arguments have no effect."""
    return np.zeros(shape)


def ones(shape: tuple[int, ...], fan_in: int, random: np.random.Generator) -> Array:
    """Return an array of ones of this shape; the other arguments have no effect."""
    return np.ones(shape)


def constant(value: float) -> Initializer:
    """Return an initializer that fills the array with ``value``."""
    return partial(_filled, value=value)


def _filled(shape: tuple[int, ...], fan_in: int, random: np.random.Generator, *, value: float) -> Array:
    return np.full(shape, value)


INITIALIZERS: dict[str, Initializer] = {
    "torch": uniform_by_fan_in,
    "he": he(),
    "xavier": xavier,
    "orthogonal": orthogonal,
    "dirac": dirac,
    "zeros": zeros,
    "ones": ones,
}
"""The initializers by the names that ``init=`` takes."""


def initializer(init: str | Initializer) -> Initializer:
    """Return the initializer named ``init``; an initializer function is returned unchanged.

    Raises ``OptionError``, whose message lists the known names, for anything else.
    """
    if callable(init):
        return init
    if not isinstance(init, str) or init not in INITIALIZERS:
        raise unknown_option("init", init, [*INITIALIZERS, "or a function (shape, fan_in, random) → array"])
    return INITIALIZERS[init]


def bias_initializer(init: str | Initializer) -> Initializer:
    """Return the initializer of the biases of a layer whose weights use ``init``.

    If ``init`` is "torch", biases are drawn by ``uniform_by_fan_in``, as in PyTorch; otherwise they are zero.
    """
    initializer(init)
    return uniform_by_fan_in if init == "torch" else zeros


def drawn(init: Initializer, shape: tuple[int, ...], fan_in: int, random: np.random.Generator, name: str) -> Array:
    """Return the array that the initializer ``init`` draws; raise ``OptionError`` if its shape is not ``shape``.

    ``shape``, ``fan_in`` (the number of inputs of each output) and ``random`` are passed to the initializer; ``name``
    is the name of the parameter in error messages. Raises ``EngineError`` if there is no memory for the array.
    """
    try:
        array = np.asarray(init(shape, fan_in, random))
    except MemoryError as error:
        raise EngineError(f"{name}: {out_of_memory(8 * math.prod(shape))}") from error
    if array.shape != shape:
        raise OptionError(f"the init function of {name!r} returned shape {array.shape}, expected {shape}")
    return array
