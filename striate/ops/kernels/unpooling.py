"""The kernels that write to, and read from, positions given by an array of indices: max unpooling and its gradient."""

from __future__ import annotations

from dataclasses import dataclass

from striate.codegen.kernel import Kernel
from striate.codegen.lanes import LANES, Condition, Index
from striate.codegen.launch import KernelSpec
from striate.dtypes import DType


@dataclass(frozen=True)
class PlaneKernel(KernelSpec):
    """Base class of kernels over the channels of one sample, whose positions form a plane (abstract).

    All arrays are in NumPy's order without gaps. One of x and y has the shape of the indices, with ``small`` positions
    per channel. The indices point into the other one, which has ``large`` positions per channel. ``channels`` is C. A
    chunk, the unit of work of a thread, is one sample.
    """

    dtype: DType
    channels: int
    small: int
    large: int

    def write(self, k: Kernel) -> None:
        with k.loop(0, self.channels) as channel:
            plane = k.iadd(k.imul(k.chunk, self.channels), channel.index)
            self.plane(k, k.imul(plane, self.small), k.imul(plane, self.large))

    def plane(self, k: Kernel, small: Index, large: Index) -> None:
        """Write the code for one channel, which begins at element ``small`` of one array and ``large`` of the other.

        The first of the two has the shape of the indices, and the indices point into the second.
        """
        raise NotImplementedError

    def index(self, k: Kernel, where: Index) -> tuple[Index, Condition]:
        """Emit the load of element ``where`` of the indices (operand 2); return (index, whether it is in the plane)."""
        index: Index = k.load_scalar(k.offset(k.operand(2), where, DType.int64), DType.int64)
        return index, k.both(k.compare(index, ">=", 0), k.compare(index, "<", self.large))


@dataclass(frozen=True)
class Scattered(PlaneKernel):
    """The kernel of unpooling: y[index[p]] = x[p] or, if ``adds``, y[index[p]] += x[p]. Operands: y, x, index.

    Positions to which no index points become 0. An index outside the plane writes nothing.
    """

    adds: bool

    def plane(self, k: Kernel, small: Index, large: Index) -> None:
        zero, whole = k.constant(0, self.dtype), self.large // LANES * LANES
        if whole:
            with k.loop(0, whole, LANES) as at:
                k.store(zero, k.offset(k.operand(0), k.iadd(large, at.index), self.dtype), self.dtype)
        if self.large > whole:
            end = k.offset(k.operand(0), k.iadd(large, whole), self.dtype)
            k.store_masked(zero, end, self.dtype, self.large - whole)
        with k.loop(0, self.small) as at:
            here = k.iadd(small, at.index)
            x = k.load_scalar(k.offset(k.operand(1), here, self.dtype), self.dtype)
            index, inside = self.index(k, here)
            with k.when(inside):
                place = k.offset(k.operand(0), k.iadd(large, index), self.dtype)
                k.store_scalar(k.add(k.load_scalar(place, self.dtype), x) if self.adds else x, place, self.dtype)


@dataclass(frozen=True)
class Gathered(PlaneKernel):
    """The kernel of the gradient of unpooling: y[p] = x[index[p]], or 0 if the index lies outside the plane.

    Operands: y, x, index.
    """

    def plane(self, k: Kernel, small: Index, large: Index) -> None:
        with k.loop(0, self.small) as at:
            here = k.iadd(small, at.index)
            index, inside = self.index(k, here)
            safe = k.imin(k.imax(index, 0), self.large - 1)
            x = k.load_scalar(k.offset(k.operand(1), k.iadd(large, safe), self.dtype), self.dtype)
            y = k.choose(inside, x, k.constant_like(x, 0))
            k.store_scalar(y, k.offset(k.operand(0), here, self.dtype), self.dtype)
