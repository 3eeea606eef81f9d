"""The state arena: one aligned block per model that holds its parameters and buffers, in logical order.

It is the truth which ``state_dict``, saving, prediction, training and watching share::

    | trainable parameters | frozen parameters | buffers |      + int64 counters next to it

Every array starts on a multiple of 16 elements and the gaps are zero, so the trainable part is one flat vector that an
optimizer updates in a single sweep, and a companion (gradients, momentum) of the same structure is one more vector.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.dtypes import DType
from striate.runtime.arena import ALIGNMENT, out_of_memory

GRANULE = 16
"""Elements that the start of an array is a multiple of: 64 bytes in float32."""

Array = NDArray[Any]
Sizes = tuple[int, ...]


def aligned_zeros(count: int, dtype: DType) -> Array:
    """A flat array of zeros whose first byte lies on a multiple of 64."""
    size = count * dtype.numpy.itemsize
    try:
        block = np.zeros(size + ALIGNMENT, np.uint8)
    except (MemoryError, ValueError) as error:  # a size beyond 63 bits is a ValueError
        raise out_of_memory(size) from error
    start = -block.ctypes.data % ALIGNMENT
    return block[start : start + size].view(dtype.numpy)


@dataclass(frozen=True)
class Section:
    """Where the arrays of one part of an arena lie: name → (first element, shape), and the padded length."""

    places: Mapping[str, tuple[int, Sizes]]
    length: int

    @classmethod
    def of(cls, shapes: Mapping[str, Sizes]) -> Section:
        """Places arrays one after the other, each on a multiple of 16 elements."""
        places: dict[str, tuple[int, Sizes]] = {}
        position = 0
        for name, shape in shapes.items():
            places[name] = (position, shape)
            position += -(-math.prod(shape) // GRANULE) * GRANULE
        return cls(places, position)

    def views(self, flat: Array) -> dict[str, Array]:
        """The named arrays inside a flat vector of this section's length."""
        return {
            name: flat[start : start + math.prod(shape)].reshape(shape) for name, (start, shape) in self.places.items()
        }


@dataclass(frozen=True)
class Companion:
    """A vector with the structure of an arena's section: gradients, an optimizer's state, pending statistics."""

    flat: Array
    views: Mapping[str, Array]


class StateArena:
    """Parameters and buffers of one model in one block.

    ``parameters`` and ``buffers`` map dotted names to shapes; names in ``frozen`` are parameters that are not trained.
    ``version`` counts writes: programs keep what they derived from the contents until it moves. Code that writes must
    call ``changed`` afterwards, and users are only given arrays that cannot be written.
    """

    def __init__(
        self,
        parameters: Mapping[str, Sizes],
        buffers: Mapping[str, Sizes],
        counters: Iterable[str] = (),
        dtype: DType = DType.float32,
        frozen: Iterable[str] = (),
    ) -> None:
        not_trained = set(frozen)
        self.version = 0
        self.dtype = dtype
        self._parameters = Section.of({name: shape for name, shape in parameters.items() if name not in not_trained})
        self._frozen = Section.of({name: shape for name, shape in parameters.items() if name in not_trained})
        self._buffers = Section.of(buffers)
        trained, fixed, rest = (s.length for s in (self._parameters, self._frozen, self._buffers))
        self.flat = aligned_zeros(trained + fixed + rest, dtype)
        self.flat_parameters = self.flat[:trained]
        self.flat_buffers = self.flat[trained + fixed :]
        self.parameters = self._parameters.views(self.flat_parameters)
        self.frozen = self._frozen.views(self.flat[trained : trained + fixed])
        self.buffers = self._buffers.views(self.flat_buffers)
        names = list(counters)
        block = aligned_zeros(len(names), DType.int64)
        self.counters: dict[str, Array] = {name: block[i : i + 1].reshape(()) for i, name in enumerate(names)}

    @property
    def arrays(self) -> dict[str, Array]:
        """Every named view."""
        return {**self.parameters, **self.frozen, **self.buffers, **self.counters}

    @property
    def parameter_bounds(self) -> tuple[int, ...]:
        """The first element of every trainable parameter in ``flat_parameters``, and the length of that vector."""
        section = self._parameters
        return (*(start for start, shape in section.places.values() if math.prod(shape)), section.length)

    def changed(self) -> None:
        """Records that some contents were written."""
        self.version += 1

    def like_parameters(self) -> Companion:
        """Zeros with the structure of the trainable parameters."""
        flat = aligned_zeros(self._parameters.length, self.dtype)
        return Companion(flat, self._parameters.views(flat))

    def like_buffers(self) -> Companion:
        """Zeros with the structure of the buffers."""
        flat = aligned_zeros(self._buffers.length, self.dtype)
        return Companion(flat, self._buffers.views(flat))
