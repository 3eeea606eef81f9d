"""Parameters and buffers: the named arrays of a layer.

Their memory is part of one block for the whole model, the state arena.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from enum import Enum
from typing import final

import numpy as np

from striate.errors import DTypeError, OptionError, ShapeError
from striate.graph.array import native
from striate.graph.value import Array, DType, TensorType, dtype_of
from striate.nn.initialization import Initializer, initializer
from striate.options import flag
from striate.runtime.state import StateArena


class Role(Enum):
    """The kinds of arrays in a layer, which training treats differently: learned, buffer, and counter."""

    LEARNED = "learned"  # changed by the optimizer
    BUFFER = "buffer"  # changed by its layer in training (running statistics), or constant
    COUNTER = "counter"  # an int64 that counts the successful training steps


Sizes = tuple[int | None, ...]
"""A shape in which None stands for a size that is still to be inferred."""
_OF_THE_OWNER = ("arena", "materialize", "restructured", "_view")
"""The attributes that the owning module sets; a copy of a parameter starts without them."""


@final
class Parameter:
    """A learned array of a layer: ``nn.Parameter(shape, init)`` or ``nn.Parameter(array)``.

    ``init`` is an initializer or its name. ``fan_in`` is the number of inputs of each output, by which initializers
    scale their values; by default, it is the product of all sizes but the first. With another ``role``, the array is a
    buffer, or a counter (an int64 that counts training steps); the optimizer changes neither. Memory is allocated, and
    a size of None is inferred, before the model first runs. Raises ``OptionError`` for sizes that are not whole
    numbers, and ``DTypeError`` for an array that is not of real numbers.
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
        self.restructured: Callable[[], None] | None = None  # tells the owning module that its programs are out of date
        self._requires_grad = role is Role.LEARNED
        self.fan_in = fan_in
        self.init = initializer(init)
        self.initial: Array | None = None  # the array it was created from, used instead of what init would draw
        self.loaded: Array | None = None  # contents loaded before there is memory for them
        self.array: Array | None = None  # the view into the state arena, once that exists
        self.arena: StateArena | None = None  # the arena that holds the array
        self._view: tuple[Array, Array] | None = None  # the array, and its read-only view for users
        self.materialize: Callable[[], None] | None = None  # allocates the memory of the owning model
        if isinstance(shape, np.ndarray):
            self.shape: Sizes = shape.shape
            self.initial = native(
                shape, "a parameter"
            ).copy()  # not rounded to float32, since the model may be converted to float64
        else:
            self.shape = _sizes(shape)

    @property
    def learned(self) -> bool:
        """Whether the optimizer can change this array: True for parameters, False for buffers and counters."""
        return self.role is Role.LEARNED

    @property
    def requires_grad(self) -> bool:
        """Whether training changes this array.

        Setting it to True raises ``OptionError`` for a buffer or counter.
        """
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, requires_grad: bool) -> None:
        if flag("requires_grad", requires_grad) and not self.learned:
            raise OptionError(f"requires_grad=True for a {self.role.value}, which no optimizer changes")
        if requires_grad is not self._requires_grad:
            self._requires_grad = bool(requires_grad)
            if self.restructured is not None:
                self.restructured()  # programs and the memory layout depend on it

    @property
    def current(self) -> Array | None:
        """The contents, or None if ``init`` has not drawn them yet; reading this allocates no memory."""
        return next((one for one in (self.array, self.loaded, self.initial) if one is not None), None)

    def forget(self) -> None:
        """Discard trained and loaded contents.

        When memory is next allocated, it is filled with the array given to the constructor, or with new values from
        ``init``.
        """
        self.array = self.loaded = None

    @property
    def known(self) -> bool:
        """Whether all sizes are known; sizes of None are still to be inferred."""
        return None not in self.shape

    @property
    def sizes(self) -> tuple[int, ...]:
        """The shape as a tuple of ints; raises ``ShapeError`` as long as a size has not been inferred."""
        if not self.known:
            raise ShapeError(
                f"a parameter of shape {self.shape} has a size that is not known yet\n"
                "  help: call the model on data once, or give the size instead of None"
            )
        return tuple(size for size in self.shape if size is not None)

    @property
    def type(self) -> TensorType:
        """The dtype and shape as a ``TensorType``; raises ``ShapeError`` as long as a size has not been inferred."""
        return TensorType(self.dtype, self.sizes)

    @property
    def data(self) -> Array:
        """The contents as a read-only array, which shows later changes too.

        The first access allocates memory for the whole model. The array is read-only because compiled programs keep
        packed copies of parameters; to change the contents, use ``assign`` or ``load_state_dict``.
        """
        array = self.materialized()
        if self._view is None or self._view[0] is not array:
            view = array.view()
            view.flags.writeable = False
            self._view = array, view
        return self._view[1]

    def contents(self, array: Array, name: str) -> Array:
        """Return ``array`` converted to the dtype of this parameter; the parameter is not changed.

        ``name`` is what error messages call the parameter. Raises ``ShapeError`` for another shape, and ``DTypeError``
        for contents that the dtype cannot hold: values that are not numbers, fractions in a counter, or numbers too
        large for the dtype.
        """
        if len(array.shape) != len(self.shape) or any(
            b is not None and a != b for a, b in zip(array.shape, self.shape)
        ):
            raise ShapeError(f"{name} has shape {self.shape}, got an array of shape {array.shape}")
        given = native(array, name)
        with np.errstate(over="ignore", invalid="ignore"):
            converted = given.astype(self.dtype.numpy, copy=False)
        if self.role is Role.COUNTER and given.dtype.kind == "f" and not np.array_equal(converted, given):
            raise DTypeError(f"{name} counts steps; {given.dtype} {given} is not a whole number\n  help: np.int64(0)")
        if converted.dtype.itemsize < given.dtype.itemsize and given.dtype.kind == "f":
            lost = np.isfinite(given) & ~np.isfinite(converted)
            if lost.any():
                raise DTypeError(
                    f"{name} holds {given[lost].flat[0]:g}, which exceeds {self.dtype.value}\n"
                    "  help: model.double() gives the model float64"
                )
        return converted

    def assign(self, array: Array) -> None:
        """Copy an array into the parameter; raises ``ShapeError`` or ``DTypeError`` for an unsuitable array."""
        materialized = self.materialized()
        materialized[...] = self.contents(array, "the parameter")
        if self.arena is not None:
            self.arena.changed()

    def materialized(self) -> Array:
        """Return the writable array with the contents; the first call allocates memory for the whole model.

        Compiled programs do not notice changes of this array; users read ``data`` and change it with ``assign``. Raises
        ``ShapeError`` for a parameter that belongs to no module.
        """
        placed = self.arena is not None and self.array is not None and self.array.dtype == self.dtype.numpy
        if not placed and self.materialize is not None:
            self.materialize()
        if self.array is None:
            raise ShapeError(
                "a parameter that belongs to no layer has no array\n  help: assign it to an attribute of a module"
            )
        return self.array

    def __deepcopy__(self, memory: dict[int, object]) -> Parameter:
        """Return a copy of options and contents without memory in an arena.

        The copied module becomes its owner.
        """
        copied = object.__new__(Parameter)
        memory[id(self)] = copied
        copied.__dict__.update(
            copy.deepcopy(self._apart(), memory), arena=None, materialize=None, restructured=None, _view=None
        )
        return copied

    def __getstate__(self) -> dict[str, object]:
        """Return the options without contents and memory, for a pickle; the owning module packs the contents."""
        return {
            **self._apart(),
            "array": None,
            "initial": None,
            "loaded": None,
            "arena": None,
            "materialize": None,
            "restructured": None,
            "_view": None,
        }

    def _apart(self) -> dict[str, object]:
        """Return the attributes without those that the owning module sets."""
        return {name: value for name, value in self.__dict__.items() if name not in _OF_THE_OWNER}

    def __repr__(self) -> str:
        return f"Parameter({self.dtype.short} {self.shape}, {self.role.value})"


def _sizes(shape: object) -> Sizes:
    """Return a shape as a tuple of ints and Nones; raises ``OptionError`` for anything else."""
    if not isinstance(shape, tuple | list):
        raise OptionError(
            f"Parameter({shape!r}): expected a shape or an array\n  help: nn.Parameter((3, 4)), nn.Parameter(array)"
        )
    sizes: list[int | None] = []
    for size in shape:  # pyright: ignore[reportUnknownVariableType]
        whole = isinstance(size, int | np.integer) and not isinstance(size, bool)
        if size is not None and (not whole or size < 0):
            raise OptionError(f"Parameter(shape={shape}): {size!r} is not a size; sizes are whole numbers, or None")
        sizes.append(None if size is None else int(size))  # pyright: ignore[reportUnknownArgumentType]
    return tuple(sizes)
