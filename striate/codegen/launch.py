"""What lowering produces: kernels by specification, buffers, and the phases that join them.

A kernel's specification is a frozen dataclass that says everything its code depends on; its ``repr`` is the key under
which the compiled kernel is kept. So equal layers share one kernel, and no code is written to find it in the cache.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from dataclasses import dataclass

from striate.codegen.kernel import Kernel
from striate.locks import cached_property


@dataclass(frozen=True)
class KernelSpec:
    """Base of kernel specifications (abstract): fields, and ``write`` which writes the code."""

    @property
    def key(self) -> str:
        """Canonical text of everything that the code depends on."""
        return self._names[0]

    @property
    def symbol(self) -> str:
        """Name of the native function: the kind of kernel and a hash of its key."""
        return self._names[1]

    @cached_property
    def _names(self) -> tuple[str, str]:
        key = repr(self)
        return key, f"{type(self).__name__}_{hashlib.sha256(key.encode()).hexdigest()[:16]}"

    def ir(self) -> str:
        """The kernel as LLVM IR."""
        k = Kernel(self.symbol)
        self.write(k)
        return k.finish()

    def write(self, k: Kernel) -> None:
        """Writes the body."""
        raise NotImplementedError


@dataclass(eq=False)
class Buffer:
    """Scratch memory of a program: ``fixed`` bytes, and ``per_group`` bytes for each ``group`` samples."""

    name: str
    fixed: int = 0
    per_group: int = 0
    group: int = 1

    def size(self, capacity: int) -> int:
        """Bytes at a capacity of samples."""
        return self.fixed + self.per_group * -(-capacity // self.group)


@dataclass(frozen=True)
class BoundArray:
    """An array that is given when the program is made, by its name: what a state's new contents are copied to."""

    name: str


Operand = Hashable
"""A value of the graph, a ``Buffer`` or a ``BoundArray``: whatever the program's memory is found by."""


@dataclass
class Launch:
    """One kernel over its chunks, with its operands: values of the graph, buffers, and bound arrays.

    ``writes`` are the indices of the operands that it writes, if they are known. Only such a phase can be prepared, so
    that it runs again only when its inputs have changed.
    """

    name: str
    path: str
    spec: KernelSpec
    operands: tuple[Operand, ...]
    chunks: tuple[int, int]
    thread_scratch: int = 0
    flops_per_sample: int = 0
    flops: int = 0
    writes: tuple[int, ...] = ()
