"""The padding of one axis as a linear map, which copies elements of the input to the output."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from striate.codegen.kernel import Kernel
from striate.codegen.lanes import Condition, Index
from striate.graph.value import DType
from striate.ops.axis_map import AxisMap, Entry, Row, Run, Terms, chosen, clamped


class PadMode(Enum):
    """What a padding consists of: a constant, or copies of elements of the array."""

    constant = "constant"  # a number
    reflect = "reflect"  # the array mirrored at its first and at its last element, which are not repeated
    replicate = "replicate"  # the first and the last element
    circular = "circular"  # the other end of the array


@dataclass(frozen=True)
class PadAxis(AxisMap):
    """Padding of one axis as a linear map: ``before`` elements before x and ``after`` elements after it.

    Negative numbers crop. ``mode`` says what the added elements are. Circular padding repeats only the elements that
    are left after cropping.
    """

    before: int
    after: int
    mode: PadMode

    @property
    def count(self) -> int:
        return self.before + self.size + self.after

    @property
    def most(self) -> int:
        return 1

    @property
    def most_transposed(self) -> int:
        return 1 + max(0, self.before) + max(0, self.after) if self.mode is PadMode.replicate else 3

    @property
    def _kept(self) -> tuple[int, int]:
        """The part of x that is not cropped: the index of its first element, and that of its last plus 1."""
        return max(0, -self.before), self.size - max(0, -self.after)

    def row(self, p: int) -> Row:
        i = p - self.before
        if not 0 <= i < self.size and self.mode is PadMode.constant:
            return ()
        if self.mode is PadMode.reflect:
            i = (self.size - 1) - abs(self.size - 1 - abs(i))
        elif self.mode is PadMode.replicate:
            i = min(max(i, 0), self.size - 1)
        elif self.mode is PadMode.circular:
            first, stop = self._kept
            i = first + (i - first) % (stop - first)
        return ((i, 1.0),)

    def terms(self, k: Kernel, p: Index, dtype: DType) -> Terms:
        size = self.size
        i = k.iadd(p, -self.before)
        if self.before <= 0 and self.after <= 0:
            return [Entry(i)]
        if self.mode is PadMode.constant:
            inside = k.both(self.before <= 0 or k.compare(i, ">=", 0), self.after <= 0 or k.compare(i, "<", size))
            return [Entry(clamped(k, i, size), inside)]
        if self.mode is PadMode.replicate:
            return [Entry(clamped(k, i, size))]
        if self.mode is PadMode.reflect:
            i = k.imax(i, k.isub(0, i)) if self.before > 0 else i
            return [Entry(k.imin(i, k.isub(2 * (size - 1), i)) if self.after > 0 else i)]
        first, stop = self._kept
        if self.before > 0:
            i = chosen(k, k.compare(i, "<", first), k.iadd(i, stop - first), i)
        if self.after > 0:
            i = chosen(k, k.compare(i, ">=", stop), k.iadd(i, first - stop), i)
        return [Entry(i)]

    def transposed_terms(self, k: Kernel, i: Index, dtype: DType) -> Terms:
        size, count, (first, stop) = self.size, self.count, self._kept
        home = k.iadd(i, self.before)
        if self.mode is PadMode.replicate:
            begin, end = k.imax(home, 0), k.imin(k.iadd(home, 1), count)
            if self.before > 0:
                begin = chosen(k, k.compare(i, "==", 0), 0, begin)
            if self.after > 0:
                end = chosen(k, k.compare(i, "==", size - 1), count, end)
            return Run(begin, end)
        kept = k.both(k.compare(i, ">=", first), k.compare(i, "<", stop))
        found = [Entry(clamped(k, home, count), kept)]
        images: list[tuple[Index, Condition | bool]] = []
        if self.mode is PadMode.reflect and self.before > 0:
            images.append((k.isub(self.before, i), k.compare(i, ">=", 1)))
        if self.mode is PadMode.reflect and self.after > 0:
            images.append((k.isub(self.before + 2 * (size - 1), i), k.compare(i, "<", size - 1)))
        if self.mode is PadMode.circular and self.before > 0:
            images.append((k.iadd(home, first - stop), kept))
        if self.mode is PadMode.circular and self.after > 0:
            images.append((k.iadd(home, stop - first), kept))
        for q, exists in images:
            inside = k.both(k.compare(q, ">=", 0), k.compare(q, "<", count))
            found.append(Entry(clamped(k, q, count), k.both(exists, inside)))
        return found
