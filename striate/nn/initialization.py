"""Initial values of parameters.

Each parameter draws from its own generator, seeded by (seed, dotted name). So neither the order of layers nor the way
in which sizes were inferred changes the initial values of a network.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable

import numpy as np

from striate.errors import OptionError, unknown_option
from striate.graph.value import Array
from striate.ops.activation import LeakyRelu

Initializer = Callable[[tuple[int, ...], int, "np.random.Generator"], Array]
"""(shape, fan_in, random generator) → array. Axis 0 of a weight counts the outputs."""


def generator(seed: int, name: str) -> np.random.Generator:
    """The generator of random numbers for one name."""
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))


def uniform_by_fan_in(shape: tuple[int, ...], fan_in: int, random: np.random.Generator) -> Array:
    """U(−1/√fan_in, 1/√fan_in): PyTorch's default for weights (kaiming_uniform with a = √5) and for biases."""
    bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
    return random.uniform(-bound, bound, shape)


def he(negative_slope: float = 0.0) -> Initializer:
    """N(0, 2 / ((1 + α²) fan_in)): keeps the variance through (leaky) ReLU. He et al., arXiv:1502.01852."""
    return scaled_normal(LeakyRelu(negative_slope).gain)


def scaled_normal(gain: float) -> Initializer:
    """N(0, gain² / fan_in)."""

    def draw(shape: tuple[int, ...], fan_in: int, random: np.random.Generator) -> Array:
        return random.standard_normal(shape) * (gain / math.sqrt(max(fan_in, 1)))

    return draw


def xavier(shape: tuple[int, ...], fan_in: int, random: np.random.Generator) -> Array:
    """U(−b, b) with b = √(6 / (fan_in + fan_out)). Glorot and Bengio, 2010."""
    fan_out = shape[0] * math.prod(shape[2:])
    bound = math.sqrt(6 / max(fan_in + fan_out, 1))
    return random.uniform(-bound, bound, shape)


def orthogonal(shape: tuple[int, ...], fan_in: int, random: np.random.Generator) -> Array:
    """Rows (or columns) of a random orthogonal matrix. Saxe et al., arXiv:1312.6120."""
    rows, columns = shape[0], math.prod(shape[1:])
    q, r = np.linalg.qr(random.standard_normal((max(rows, columns), min(rows, columns))))
    q = q * np.where(np.diag(r) < 0, -1.0, 1.0)  # without the signs Q is not uniformly distributed
    return (q if rows >= columns else q.T).reshape(shape)


def zeros(shape: tuple[int, ...], fan_in: int, random: np.random.Generator) -> Array:
    """Zeros."""
    return np.zeros(shape)


def ones(shape: tuple[int, ...], fan_in: int, random: np.random.Generator) -> Array:
    """Ones."""
    return np.ones(shape)


def constant(value: float) -> Initializer:
    """The same number everywhere."""

    def fill(shape: tuple[int, ...], fan_in: int, random: np.random.Generator) -> Array:
        return np.full(shape, value)

    return fill


INITIALIZERS: dict[str, Initializer] = {
    "torch": uniform_by_fan_in,
    "he": he(),
    "xavier": xavier,
    "orthogonal": orthogonal,
    "zeros": zeros,
    "ones": ones,
}


def initializer(init: str | Initializer) -> Initializer:
    """The function for a name; the error for an unknown name lists the known ones."""
    if callable(init):
        return init
    if not isinstance(init, str) or init not in INITIALIZERS:
        raise unknown_option("init", init, [*INITIALIZERS, "or a function (shape, fan_in, random) → array"])
    return INITIALIZERS[init]


def bias_initializer(init: str | Initializer) -> Initializer:
    """Biases follow PyTorch for "torch" and start at zero otherwise."""
    initializer(init)
    return uniform_by_fan_in if init == "torch" else zeros


def drawn(init: Initializer, shape: tuple[int, ...], fan_in: int, random: np.random.Generator, name: str) -> Array:
    """The array that an initializer returns, with its shape checked."""
    array = np.asarray(init(shape, fan_in, random))
    if array.shape != shape:
        raise OptionError(f"the init function of {name!r} returned shape {array.shape}, expected {shape}")
    return array
