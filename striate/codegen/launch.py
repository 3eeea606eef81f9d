"""The result of lowering (turning a graph into kernels): kernel specifications, buffers, launches.

The specification of a kernel is a frozen dataclass with everything that its code depends on. Its ``repr`` is the key of
the compiled kernel in the cache. So equal layers share one kernel, and a cached kernel is found without generating its
code. A launch connects a specification with its operands.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from dataclasses import dataclass

from striate.codegen.kernel import Kernel
from striate.locks import cached_property


@dataclass(frozen=True)
class KernelSpec:
    """The abstract base class of kernel specifications: everything that the code of a kernel depends on.

    A subclass is a frozen dataclass that adds fields and implements ``write``.
    """

    @property
    def key(self) -> str:
        """Text that identifies the kernel in the cache: it contains everything that its code depends on."""
        return self._names[0]

    @property
    def symbol(self) -> str:
        """The name of the native function: the class name of the specification and a hash of the key."""
        return self._names[1]

    @cached_property
    def _names(self) -> tuple[str, str]:
        key = repr(self)
        return key, f"{type(self).__name__}_{hashlib.sha256(key.encode()).hexdigest()[:16]}"

    def ir(self) -> str:
        """Return the kernel as LLVM IR text."""
        k = Kernel(self.symbol)
        self.write(k)
        return k.finish()

    def write(self, k: Kernel) -> None:
        """Write the body of the kernel's native function with the writer ``k``."""
        raise NotImplementedError


@dataclass(eq=False)
class Buffer:
    """An array in scratch memory, whose size depends on the number of samples.

    ``name`` is its name in tables of the memory. The array has ``fixed`` bytes, plus ``per_group`` bytes for every
    ``group`` samples; an incomplete last group counts as a whole one.
    """

    name: str
    fixed: int = 0
    per_group: int = 0
    group: int = 1

    def size(self, capacity: int) -> int:
        """Return the number of bytes needed for a batch of ``capacity`` samples."""
        return self.fixed + self.per_group * -(-capacity // self.group)


@dataclass(frozen=True)
class BoundArray:
    """An operand of a kernel: the array of a state, such as running statistics.

    The kernel copies new contents to this array. ``name`` is the dotted name of the state. The address of the array is
    known when the program is created.
    """

    name: str


Operand = Hashable
"""An operand of a launch: a value of the graph, a ``Buffer`` or a ``BoundArray``. The program gives each its memory."""


@dataclass
class Launch:
    """One phase (kernel launch) of a program, before compilation.

    A launch consists of the specification of a kernel, its operands, and the number of chunks. A *chunk* is a part of
    the work that one thread does. Once the kernel is compiled and the operands have addresses,
    ``runtime.program.Phase`` describes the phase.

        name              what the phase does, for profiles: "map", "pack", …
        path              the path of the layer that the phase belongs to
        spec              the specification of the kernel
        operands          the arrays whose addresses the kernel gets, in the order of their numbers in the kernel
        chunks            (per, group): ``per`` chunks if group is 0, else per · ⌈N / group⌉ for N samples
        thread_scratch    bytes of scratch memory that each thread needs
        flops_per_sample  floating-point operations per sample
        flops             floating-point operations that do not depend on the number of samples
        writes            the indices of the operands that the kernel writes; empty if they are not known

    A *prepared* launch runs again only when its inputs have changed. Only a launch with known writes can be prepared.
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
