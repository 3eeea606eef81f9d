"""What lowering produces: specifications of kernels, buffers, and the launches that connect them.

The specification of a kernel is a frozen dataclass with everything that its code depends on. Its ``repr`` is the key of
the compiled kernel in the cache. So equal layers share one kernel, and a kernel is found without writing its code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from dataclasses import dataclass

from striate.codegen.kernel import Kernel
from striate.locks import cached_property


@dataclass(frozen=True)
class KernelSpec:
    """Base of the specifications of kernels (abstract). A subclass has fields, and ``write`` writes its code."""

    @property
    def key(self) -> str:
        """Canonical text of everything that the code depends on."""
        return self._names[0]

    @property
    def symbol(self) -> str:
        """The name of the native function: the class of the specification and a hash of the key."""
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
        """Writes the body of the function."""
        raise NotImplementedError


@dataclass(eq=False)
class Buffer:
    """Scratch memory: ``fixed`` bytes, and ``per_group`` bytes for every ``group`` samples or part of them."""

    name: str
    fixed: int = 0
    per_group: int = 0
    group: int = 1

    def size(self, capacity: int) -> int:
        """Bytes for a batch of ``capacity`` samples."""
        return self.fixed + self.per_group * -(-capacity // self.group)


@dataclass(frozen=True)
class BoundArray:
    """An array that is bound by name when the program is made: the destination of a state's new contents."""

    name: str


Operand = Hashable
"""A value of the graph, a ``Buffer`` or a ``BoundArray``. The program maps each of them to memory."""


@dataclass
class Launch:
    """One phase of a program: a kernel, its operands and its chunks.

    ``chunks`` is (per, group): ``per`` chunks if group is 0, else ``per`` for every ``group`` samples or part
    of them. ``writes`` are the indices of the operands that the kernel writes, if they are known. Only a launch with
    known writes can be prepared: it then runs again only when its inputs have changed.
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
