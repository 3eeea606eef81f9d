"""The base class of modules that keep their parameters in memory: dtype, initial values, saving, loading, pickling."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np

from striate.errors import DTypeError, OptionError
from striate.graph.value import Array, DType, dtype_of
from striate.nn.parameter import Role
from striate.nn.pickling import packed, unpacked
from striate.nn.state import StateMismatch, placed, write_state
from striate.nn.tree import ModuleTree
from striate.options import flag
from striate.runtime.state import StateArena

if TYPE_CHECKING:
    from striate.nn.module import Module


_DEVICES = ("cpu", "cuda", "mps", "xpu", "meta")
"""The names of PyTorch's devices, for which ``Module.to`` raises an error of its own."""


class ModuleMemory(ModuleTree):
    """Base class of modules with all parameters and buffers in one block of memory, the state arena (abstract)."""

    _seed: int | None
    _arena: StateArena | None
    _arena_version: int
    _dtype: tuple[int, DType | None]

    def __new__(cls, *arguments: Any, **options: Any) -> Self:
        self = super().__new__(cls)
        vars(self).update(_seed=None, _arena=None, _arena_version=-1, _dtype=(-1, None))
        return self

    @property
    def dtype(self) -> DType | None:
        """The dtype of the parameters and buffers, float32 or float64; None if the module has none."""
        version, dtype = self._dtype
        if (
            version != self._version
        ):  # cached, because traversing a deep network at every call would cost more than the call itself
            dtype = next((parameter.dtype for _, parameter in self.named_state() if parameter.dtype.is_float), None)
            vars(self)["_dtype"] = (self._version, dtype)
        return dtype

    def to(self, dtype: str | DType) -> Self:
        """Convert all floating-point parameters and buffers to float32 or float64, and return the module.

        Raises ``DTypeError`` for another dtype, such as int32. Raises ``OptionError`` for an unknown name, such as
        "float16", and for the name of a device, such as "cuda".
        """
        if isinstance(dtype, str) and dtype.partition(":")[0] in _DEVICES:
            raise OptionError(
                f"to({dtype!r}): a model has no device\n"
                "  help: leave it out, since striate runs on the CPU; model.double() converts to float64"
            )
        chosen = dtype_of(dtype)
        if not chosen.is_float:
            raise DTypeError(
                f"a model computes in float32 or float64, not {chosen.value}\n  help: model.float() or model.double()"
            )
        for _, parameter in self.named_state():
            if parameter.role is not Role.COUNTER:
                parameter.dtype = chosen
        self.invalidate()
        return self

    def double(self) -> Self:
        """Convert the model to float64 and return it."""
        return self.to(DType.float64)

    def float(self) -> Self:
        """Convert the model to float32 and return it."""
        return self.to(DType.float32)

    def initialize(self, seed: int) -> Self:
        """Draw all parameters anew with a seed, reset all buffers to their initial contents, and return the module.

        Parameters that were created from an array get that array again. Raises ``OptionError`` for a seed that is not a
        whole number.
        """
        vars(self)["_seed"] = whole_seed(seed)
        vars(self)["_arena"] = None
        for _, parameter in self.named_state():
            parameter.forget()
        self.invalidate()
        return self

    def seed(self, seed: int) -> Self:
        """Set the seed for the initial values that are still to be drawn, and return the module.

        If a seed has been set before, this call has no effect.
        """
        if self._seed is None:
            vars(self)["_seed"] = whole_seed(seed)
        return self

    def initialized(self) -> bool:
        """Return whether all parameters and buffers have arrays in memory."""
        return all(parameter.array is not None for _, parameter in self.named_state())

    def materialize(self) -> None:
        """Allocate the arrays of all parameters and buffers of this module, and fill them.

        If this module is part of a larger module whose sizes are all known, the arrays of the whole larger module are
        allocated.
        """
        for module in self._ancestors():
            if module is self or all(parameter.known for _, parameter in module.named_state()):
                module.arena()
                return

    def arena(self) -> StateArena:
        """Return the state arena, the block of memory that contains all parameters and buffers of this module.

        The first call allocates the arena. If layers or parameters have been added, removed or replaced since, the call
        allocates a new arena and copies the contents into it.
        """
        if self._arena is not None and self._arena_version == self._version:
            return self._arena
        root = self._ancestors()[0]
        names = {id(parameter): name for name, parameter in root.named_state()}
        former = self._arena
        arena = placed(dict(self.named_state()), self.dtype or DType.float32, former, root._seed or 0, names)
        if arena is former:
            vars(self)["_arena_version"] = self._version
            return arena
        for _, module in self.named_modules():
            module.invalidate()  # also for other models that share a layer, whose programs read the former memory
        vars(self).update(_arena=arena, _arena_version=self._version)
        return arena

    def _structure(self) -> dict[str, Any]:
        """Return the attributes that a copy takes over: all but memory, programs and parents."""
        own = {"_arena", "_predictor", "_parents", "_version", "_arena_version", "_dtype"}
        return {name: value for name, value in vars(self).items() if name not in own}

    def _adopt(self) -> None:
        """Become the owner of the parameters and the parent of the children, after a copy or unpickling."""
        for parameter in self._parameters.values():
            parameter.materialize, parameter.restructured = self.materialize, self.invalidate
        for child in self.children():
            child._parents.append(cast("Module", self))

    def __deepcopy__(self, memory: dict[int, Any]) -> Self:
        """Return an independent model with the same contents.

        Its memory and programs are created when it first runs.
        """
        copied = type(self).__new__(type(self))
        memory[id(self)] = copied
        vars(copied).update({name: copy.deepcopy(value, memory) for name, value in self._structure().items()})
        copied._adopt()
        return copied

    def __getstate__(self) -> dict[str, Any]:
        """Return what a pickle contains: the structure, and the arrays as safetensors bytes.

        Programs and memory are left out.
        """
        current = {name: parameter.current for name, parameter in self._parameters.items()}
        initial = {name: parameter.initial for name, parameter in self._parameters.items()}
        return {**self._structure(), "_tensors": packed(current), "_initial": packed(initial)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        structure = dict(state)
        tensors, initial = unpacked(structure.pop("_tensors")), unpacked(structure.pop("_initial"))
        vars(self).update(structure)
        for name, parameter in self._parameters.items():
            parameter.loaded, parameter.initial = tensors.get(name), initial.get(name)
        self._adopt()

    def state_dict(self) -> dict[str, Array]:
        """Return copies of all parameters and buffers by dotted name, such as "conv1.weight", as in PyTorch."""
        self.materialize()
        return {name: np.array(parameter.data) for name, parameter in self.named_state()}

    def load_state_dict(self, state: Mapping[str, Array], strict: bool = True) -> StateMismatch:
        """Copy the arrays of ``state`` into the parameters and buffers of the same names.

        If one array is invalid, nothing is written. Returns the names that were skipped: ``missing_keys`` (in the
        model, not in ``state``) and ``unexpected_keys`` (in ``state``, not in the model). Raises ``ShapeError``, whose
        message lists wrong shapes, contents that are not numbers and, with ``strict``, missing and unexpected names.
        Without ``strict``, the error is still raised if no name matches. Raises ``DataError`` or ``DTypeError`` unless
        ``state`` is a mapping of names to arrays.
        """
        mismatch = write_state(dict(self.named_state()), state, flag("strict", strict))
        for _, module in self.named_modules():
            module.adopt_sizes()
        return mismatch

    def adopt_sizes(self) -> None:
        """Set options that are still None, such as ``in_features``, to the sizes of the loaded parameters.

        Layers that infer sizes override this method; the base class does nothing.
        """


def whole_seed(seed: object) -> int:
    """Return the seed as an int; raises ``OptionError`` for anything but a whole number."""
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool):
        raise OptionError(f"seed={seed!r} must be a whole number")
    return int(cast("int", seed))
