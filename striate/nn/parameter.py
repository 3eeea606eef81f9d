"""Parameters and buffers: named arrays that a layer owns and that live in the state arena of its model."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from enum import Enum
from typing import final

import numpy as np

from striate.errors import ShapeError
from striate.graph.value import Array, DType, TensorType, dtype_of
from striate.nn.initialization import Initializer, initializer
from striate.state import StateArena


class Role(Enum):
    """What training does with an array."""

    LEARNED = "learned"  # the optimizer changes it
    BUFFER = "buffer"  # a layer changes it while training (running statistics), or nobody does
    COUNTER = "counter"  # an int64 that counts committed steps


Sizes = tuple[int | None, ...]


@final
class Parameter:
    """One array of a layer: ``nn.Parameter(shape, init)`` or ``nn.Parameter(array)``.

    Its memory is assigned when the model first runs; sizes of None are inferred before.
    """

    def __init__(
        self,
        shape: Sizes | Array,
        init: str | Initializer = "torch",
        fan_in: int | None = None,
        role: Role = Role.LEARNED,
        dtype: str | DType = DType.float32,
    ) -> None:
        self.role = role
        self.dtype = DType.int64 if role is Role.COUNTER else dtype_of(dtype)
        self.requires_grad = role is Role.LEARNED
        self.fan_in = fan_in
        self.init = initializer(init)
        self.start: Array | None = None  # contents that were given; they replace what init would draw
        self.array: Array | None = None  # the view into the arena, once there is one
        self.home: StateArena | None = None  # that arena
        self._view: tuple[Array, Array] | None = None  # that array, and the view of it that users get
        self.owner: weakref.ref[object] | None = None
        self.materialize: Callable[[], None] | None = None
        if isinstance(shape, np.ndarray):
            self.start = np.array(shape)
            self.shape: Sizes = shape.shape
        else:
            self.shape = tuple(shape)

    @property
    def learned(self) -> bool:
        """Whether it is a parameter rather than a state."""
        return self.role is Role.LEARNED

    @property
    def known(self) -> bool:
        """Whether all sizes are known."""
        return None not in self.shape

    @property
    def sizes(self) -> tuple[int, ...]:
        """The shape; raises ``ShapeError`` while a size is still to be inferred."""
        if not self.known:
            raise ShapeError(
                f"a parameter of shape {self.shape} has a size that is not known yet\n"
                "  help: call the model on data once, or give the size instead of None"
            )
        return tuple(size for size in self.shape if size is not None)

    @property
    def type(self) -> TensorType:
        """Dtype and shape as a graph sees it."""
        return TensorType(self.dtype, self.sizes)

    @property
    def data(self) -> Array:
        """The array in the state arena, to be read; assigned now for the whole model when this is the first use.

        Programs keep what they derived from parameters, so writing goes through ``assign`` or ``load_state_dict``.
        """
        array = self.held()
        if self._view is None or self._view[0] is not array:
            view = array.view()
            view.flags.writeable = False
            self._view = array, view
        return self._view[1]

    def assign(self, array: Array) -> None:
        """Gives the parameter new contents; raises ``ShapeError`` for an array of another shape."""
        held = self.held()
        if array.shape != held.shape:
            raise ShapeError(f"an array of shape {array.shape} was assigned to a parameter of shape {held.shape}")
        held[...] = array
        if self.home is not None:
            self.home.changed()

    def held(self) -> Array:
        """The array in the state arena as programs read and write it; ``data`` is what users see."""
        placed = self.home is not None and self.array is not None and self.array.dtype == self.dtype.numpy
        if not placed and self.materialize is not None:
            self.materialize()
        if self.array is None:
            raise ShapeError("a parameter that belongs to no layer has no array")
        return self.array

    def __deepcopy__(self, memory: dict[int, object]) -> Parameter:
        """The same contents, in no arena yet."""
        copied = object.__new__(Parameter)
        memory[id(self)] = copied
        apart = {name: value for name, value in self.__dict__.items() if name not in ("home", "_view")}
        copied.__dict__.update(copy.deepcopy(apart, memory), home=None, _view=None)
        return copied

    def __repr__(self) -> str:
        return f"Parameter({self.dtype.short} {self.shape}, {self.role.value})"
