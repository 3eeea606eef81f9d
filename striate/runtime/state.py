"""The state arena: one aligned block per model that contains its parameters and buffers.

``state_dict``, saving, prediction, training and watching all share this memory, which contains the
arrays in NumPy's order::

    | trainable parameters | frozen parameters | buffers |      + int64 counters next to it

Every array starts at a multiple of 16 elements, and the gaps between arrays are zero. So an optimizer can update the
trainable parameters as one flat vector. A *companion*, such as the gradients, is another vector of the same structure.
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
"""Every array starts at a multiple of this many elements, which are 64 bytes in float32."""

Array = NDArray[Any]
Sizes = tuple[int, ...]


def aligned_zeros(count: int, dtype: DType) -> Array:
    """Return a flat array of ``count`` zeros of type ``dtype`` whose address is a multiple of 64 bytes.

    Raises ``EngineError`` if the system refuses the memory.
    """
    size = count * dtype.numpy.itemsize
    try:
        block = np.zeros(size + ALIGNMENT, np.uint8)
    except (MemoryError, ValueError) as error:  # a size beyond 63 bits is a ValueError
        raise out_of_memory(size) from error
    start = -block.ctypes.data % ALIGNMENT
    return block[start : start + size].view(dtype.numpy)


@dataclass(frozen=True)
class Section:
    """The layout of one part of a state arena (a model's memory block), such as its trainable parameters.

    ``places`` maps the name of each array to (index of its first element in the part, shape). ``length`` is the length
    of the part in elements, with the gaps between arrays.
    """

    places: Mapping[str, tuple[int, Sizes]]
    length: int

    @classmethod
    def of(cls, shapes: Mapping[str, Sizes]) -> Section:
        """Return a section with arrays of these shapes one after the other, each at a multiple of 16 elements."""
        places: dict[str, tuple[int, Sizes]] = {}
        position = 0
        for name, shape in shapes.items():
            places[name] = (position, shape)
            position += -(-math.prod(shape) // GRANULE) * GRANULE
        return cls(places, position)

    def views(self, flat: Array) -> dict[str, Array]:
        """Return the named arrays as views of a flat vector of this section's length."""
        return {
            name: flat[start : start + math.prod(shape)].reshape(shape) for name, (start, shape) in self.places.items()
        }


@dataclass(frozen=True)
class Companion:
    """A vector with the structure of one section of a model's memory, such as the gradients of the parameters.

    ``flat`` is the whole vector, and ``views`` are the named arrays in it.
    """

    flat: Array
    views: Mapping[str, Array]


class StateArena:
    """The parameters and buffers of one model in one block of memory.

    ``parameters`` and ``buffers`` map dotted names to shapes. ``frozen`` names the parameters that are not trained, and
    ``counters`` names int64 scalars. ``dtype`` is the type of all other arrays.

    The attributes ``parameters`` (without the frozen ones), ``frozen``, ``buffers`` and ``counters`` map names to views
    of the memory. Code that writes to the arena must call ``changed`` afterwards, which increases ``version``. Programs
    compare ``version`` to find out whether the contents have changed. Users only get read-only arrays.
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
        """All parameters, buffers and counters by name, as views (no copies)."""
        return {**self.parameters, **self.frozen, **self.buffers, **self.counters}

    @property
    def parameter_bounds(self) -> tuple[int, ...]:
        """The index at which each trainable parameter begins in ``flat_parameters``, and finally the vector's length.

        Parameters without elements are left out.
        """
        section = self._parameters
        return (*(start for start, shape in section.places.values() if math.prod(shape)), section.length)

    def changed(self) -> None:
        """Record that some contents were written, by increasing ``version``."""
        self.version += 1

    def like_parameters(self) -> Companion:
        """Return a ``Companion`` of zeros with the structure of the trainable parameters, such as for gradients."""
        flat = aligned_zeros(self._parameters.length, self.dtype)
        return Companion(flat, self._parameters.views(flat))

    def like_buffers(self) -> Companion:
        """Return a ``Companion`` of zeros with the structure of the buffers (running statistics)."""
        flat = aligned_zeros(self._buffers.length, self.dtype)
        return Companion(flat, self._buffers.views(flat))
