"""The kernel of ``ops.synchronized``: copies arrays, so that the copies can be merged with those of other ranks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from striate.codegen.kernel import Kernel
from striate.codegen.lanes import LANES
from striate.codegen.launch import KernelSpec
from striate.dtypes import DType


class Merge(Enum):
    """How the arrays of the ranks (processes) are merged: as moments (mean, variance, count), or as sums."""

    MOMENTS = "moments"
    SUM = "sum"

    def __repr__(self) -> str:
        return f"Merge.{self.name}"


@dataclass(frozen=True)
class Exchange(KernelSpec):
    """The kernel that copies contiguous arrays, so that several ranks can merge the copies.

    If several ranks (processes) train a model together, the program stops after this kernel, and values merged over all
    ranks replace the copies; ``merge`` says how they are merged. With one rank, the copies remain. ``sizes`` are the
    numbers of elements of the arrays. Operands: the arrays, then their copies. One thread does all of the work.
    """

    merge: Merge
    sizes: tuple[int, ...]
    dtype: DType

    def write(self, k: Kernel) -> None:
        for number, size in enumerate(self.sizes):
            source, copy = k.operand(number), k.operand(len(self.sizes) + number)
            whole = size // LANES * LANES
            with k.loop(0, whole, LANES) as at:
                vector = k.load(k.offset(source, at.index, self.dtype), self.dtype)
                k.store(vector, k.offset(copy, at.index, self.dtype), self.dtype)
            if rest := size - whole:
                vector = k.load_masked(k.offset(source, whole, self.dtype), self.dtype, rest)
                k.store_masked(vector, k.offset(copy, whole, self.dtype), self.dtype, rest)
